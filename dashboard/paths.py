"""Addresses that a login may lead back to: paths of these pages, never another site."""

from __future__ import annotations

import re

LOGIN = "/login"
LENGTH_MAX = 2000
# printable ASCII without the backslash, which browsers read as a slash; one slash, then anything but a second one
_LOCAL = re.compile(r"/(?!/)[!-\[\]-~]*")
_NOWHERE = re.compile(r"/(login|logout)([/?#].*)?")


def local_path(given: str | None) -> str | None:
    """`given` when it is a path on these pages that one may be sent to after login; else None.

    >>> local_path("/open-items?code=B01"), local_path("//evil.example"), local_path("https://evil.example/")
    ('/open-items?code=B01', None, None)
    """
    if given is None or len(given) > LENGTH_MAX or not _LOCAL.fullmatch(given) or _NOWHERE.fullmatch(given):
        return None
    return given
