"""What a risk page is asked to show: all of it stands in the URL, so that a view can be shared, kept and exported as it is."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import HTTPException, Query

from dashboard.ages import AGE_BUCKETS
from domain.buckets import BUCKETS

BUCKET_NAMES = tuple(bucket.name for bucket in BUCKETS)
BANDS = ("AAA", "AA", "A", "B", "C", "D", "E")


@dataclass(frozen=True)
class Filters:
    """Filters of a page; an empty text means no filter. `sort` and `after` (a cursor) say which page of a table is shown."""

    lang: str = "en"
    platform: str = ""
    currency: str = ""
    bucket: str = ""
    band: str = ""
    code: str = ""
    age: str = ""
    sort: str = ""
    after: str = ""

    def query(self, **changes: str) -> str:
        """The query string with some filters changed; those without a value are left out.

        >>> Filters(lang="zh", platform="P01").query(platform="", code="B01")
        'lang=zh&code=B01'
        """
        changed = replace(self, **changes)
        return urlencode({field.name: getattr(changed, field.name) for field in fields(self) if getattr(changed, field.name)})

    def url(self, path: str, **changes: str) -> str:
        """`path` with the query string."""
        return f"{path}?{self.query(**changes)}"

    def scoped(self) -> Filters:
        """Only what every page understands: language, platform, currency."""
        return Filters(self.lang, self.platform, self.currency)

    def named(self) -> dict[str, str]:
        """The filters that narrow rows, with their values."""
        return {name: value for name in ("platform", "bucket", "band", "code", "age") if (value := getattr(self, name))}


def asked(
    lang: Annotated[str, Query(pattern="^(en|zh)$")] = "en",
    platform: Annotated[str, Query(pattern=r"^[A-Za-z0-9._:-]{0,64}$")] = "",
    currency: Annotated[str, Query(pattern=r"^([A-Z]{3}|-)?$")] = "",
    bucket: str = "",
    band: str = "",
    code: Annotated[str, Query(pattern=r"^[A-Za-z0-9_]{0,32}$")] = "",
    age: str = "",
    sort: Annotated[str, Query(pattern=r"^[a-z_]{0,32}$")] = "",
    after: Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,400}$")] = "",
) -> Filters:
    """FastAPI dependency: the filters of a request; an unknown value is refused (422), never widened.

    Currency ``-`` means items without an amount (missing files).
    """
    for value, known in ((bucket, BUCKET_NAMES), (band, BANDS), (age, AGE_BUCKETS)):
        if value and value not in known:
            raise HTTPException(422)
    return Filters(lang, platform, currency, bucket, band, code, age, sort, after)
