"""The audit page: what was written is found again, filtered, page by page, and in full as a file."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from transactional.access_log import KINDS


def lines(answer: Any) -> list[list[str]]:
    """Rows of a CSV answer, its head first."""
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def filled(pages: Any, count: int) -> None:
    pages.rows(
        """INSERT INTO auth.access_log (person_id, address, kind, subject, path)
           SELECT person_id, '10.0.0.9', 'ACCOUNT_SEEN', 'P01-L-' || n, '/accounts/P01-L-' || n
           FROM auth.person, generate_series(1, %s) n WHERE login_name = 'officer'""",
        count,
    )


def test_logins_refusals_and_changes_are_found_again(pages: Any) -> None:
    pages.visitor().sign_in("viewer", "wrong" * 4)
    pages.visitor().sign_in("stranger", "wrong" * 4)
    pages.visitor("viewer").get("/users")
    auditor = pages.visitor("auditor")
    logins = auditor.get("/audit?lang=en&table=logins").text
    assert logins.count("wrong</span>") == 2 and "stranger" not in logins
    assert 'data-count="4"' in logins
    assert "/users" in auditor.get("/audit?lang=en&table=accesses&who=viewer&kind=REFUSED").text
    assert 'data-count="12"' in auditor.get("/audit?lang=zh&table=changes").text
    assert 'data-count="2"' in auditor.get("/audit?lang=en&table=sessions&kind=OPEN").text


def test_every_row_is_reached_page_by_page(pages: Any) -> None:
    filled(pages, 250)
    auditor = pages.visitor("auditor")
    seen: list[str] = []
    path: str | None = "/audit?lang=en&table=accesses&who=officer"
    while path:
        page = auditor.get(path).text
        assert 'data-count="250"' in page
        seen += [part.partition("<")[0] for part in page.split('<td class="key">P01-L-')[1:]]
        older = page.partition('">Older rows')[0].rpartition('href="')[2] if "Older rows" in page else None
        path = older.replace("&amp;", "&") if older else None
    assert seen == [str(number) for number in range(250, 0, -1)]


def test_a_file_holds_every_row_that_the_filters_leave_and_is_itself_written_down(pages: Any) -> None:
    filled(pages, 12_000)
    auditor = pages.visitor("auditor")
    answer = auditor.get("/audit.csv?lang=en&table=accesses&who=officer")
    head, *rows = lines(answer)
    assert head == ["at", "who", "kind", "subject", "row_count", "path", "address", "session_id"]
    assert len(rows) == 12_000 == int(answer.headers["x-row-count"])
    assert {row[1] for row in rows} == {"officer"}
    assert answer.headers["content-disposition"] == 'attachment; filename="audit_accesses.csv"'
    assert pages.rows("SELECT subject, row_count, detail FROM auth.access_log WHERE kind = 'EXPORT'") == [
        ("audit accesses", 12_000, {"filters": {"table": "accesses", "who": "officer"}})
    ]
    assert len(lines(auditor.get("/audit.csv?table=accesses&who=nobody"))) == 1


def test_a_spreadsheet_takes_no_text_for_a_formula(pages: Any) -> None:
    for subject in ("=1+1", "+1", "-1", "@x", "\t=1", 'P01, "quoted"\nline'):
        pages.rows("INSERT INTO auth.access_log (address, kind, subject, path) VALUES ('x', 'REFUSED', %s, '/')", subject)
    _, *rows = lines(pages.visitor("auditor").get("/audit.csv?table=accesses"))
    assert [row[3] for row in rows] == ['P01, "quoted"\nline', "'\t=1", "'@x", "'-1", "'+1", "'=1+1"]


def test_dates_are_those_of_the_bank(pages: Any) -> None:
    moments = ("2026-08-30T15:59:59Z", "2026-08-30T16:00:00Z", "2026-08-31T15:59:59Z", "2026-08-31T16:00:00Z")
    for moment in moments:  # 31 August in Shanghai is the second and the third
        pages.rows("INSERT INTO auth.access_log (at, address, kind, subject, path) VALUES (%s, 'x', 'REFUSED', 'x', '/')", moment)
    _, *rows = lines(pages.visitor("auditor").get("/audit.csv?table=accesses&from=2026-08-31&to=2026-08-31"))
    assert [row[0] for row in rows] == ["2026-08-31T15:59:59+00:00", "2026-08-30T16:00:00+00:00"]


@pytest.mark.parametrize(
    "query",
    ["table=nothing", "kind=NOTHING", "table=logins&kind=EXPORT", "from=yesterday", "from=0001-01-01", "to=9999-12-31",
     "who=%27%3B--", "before=0", "before=99999999999999999999", "lang=fr"],
)  # fmt: skip
def test_unknown_filters_are_refused_not_widened(pages: Any, query: str) -> None:
    assert pages.visitor("auditor").get(f"/audit?{query}").status_code == 422
    if not query.startswith("before"):
        assert pages.visitor("auditor").get(f"/audit.csv?{query}").status_code == 422


def test_every_kind_of_access_has_a_name_in_both_languages() -> None:
    from dashboard.audit_trail import TRAILS
    from dashboard.texts import LANGUAGES, texts

    assert TRAILS["accesses"].kinds == KINDS
    for language in LANGUAGES:
        words = texts(language)
        for name, trail in TRAILS.items():
            assert words[f"trail_{name}"]
            assert all(words[f"audit_{kind}"] for kind in trail.kinds)
            assert all(words[f"column_{column}"] for column in trail.columns)
