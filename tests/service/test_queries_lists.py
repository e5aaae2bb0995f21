"""Lists of accounts, orders, movements and holds: pages, cursors, filters, CSV, who sees what."""

from __future__ import annotations

import csv
import io
import threading
from typing import Any

import pytest

from transactional.keys import add_key

LENDER, OTHER = "P01-L-000001", "P01-L-000002"
LISTS = ("/v1/accounts", "/v1/orders", "/v1/movements", "/v1/holds")
CONTENT_OF_ALL = {"limit": 1000}


def _platform(api: Any, platform: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {add_key(api.admin_url, platform)}"}


def _hold(api: Any, number: str, amount: int) -> None:
    hold = {"hold_no": number, "account": LENDER, "amount_minor": amount}
    assert api.post(api.order("TENDER", place_holds=[hold])).status_code == 201


def _filled(api: Any) -> None:
    for amount in range(1, 6):
        api.recharge(LENDER, amount * 100)
    api.recharge("P02-L-000001", 7)
    for number in ("H-1", "H-2", "H-3"):
        _hold(api, number, 10)


def _pages(api: Any, path: str, limit: int, **filters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = api.client.get(path, params={"limit": limit, **filters, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        rows += answer.json()["rows"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return rows


@pytest.mark.parametrize("path", LISTS)
def test_pages_of_two_are_the_whole_list_and_so_is_the_file(api: Any, path: str) -> None:
    _filled(api)
    whole = api.client.get(path, params=CONTENT_OF_ALL).json()["rows"]
    assert len(whole) >= 3
    assert _pages(api, path, 2) == whole
    for asked in ({"params": {"format": "csv"}}, {"headers": {"Accept": "text/csv"}}):
        file = api.client.get(path, **asked)
        assert file.headers["content-type"] == "text/csv; charset=utf-8"
        lines = list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))
        assert len(lines) == len(whole) == int(file.headers["x-row-count"])
        assert len(file.content) == int(file.headers["content-length"])
        first = next(iter(whole[0]))
        assert [line[first] for line in lines] == [str(row[first]) for row in whole]


@pytest.mark.parametrize("path", LISTS)
def test_a_platform_sees_its_own_rows_and_no_other_platform(api: Any, path: str) -> None:
    _filled(api)
    headers = _platform(api, "P02")
    rows = api.client.get(path, params=CONTENT_OF_ALL, headers=headers).json()["rows"]
    assert {row["platform_id"] for row in rows} <= {"P02"}
    refused = api.client.get(path, params={"platform_id": "P01"}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND")


def test_filters_leave_what_they_name(api: Any) -> None:
    _filled(api)
    asked = {"account_no": LENDER, "amount_min_minor": 200, "amount_max_minor": 400, "movement_type": "RECHARGE"}
    assert [row["amount_minor"] for row in _pages(api, "/v1/movements", 2, **asked)] == [400, 300, 200]
    assert _pages(api, "/v1/movements", 9, business_from="2199-01-01") == []
    assert [row["hold_no"] for row in _pages(api, "/v1/holds", 1, account_no=LENDER, state="OPEN")] == ["H-3", "H-2", "H-1"]
    assert {row["order_type"] for row in _pages(api, "/v1/orders", 2, order_type="TENDER")} == {"TENDER"}
    assert [row["account_no"] for row in _pages(api, "/v1/accounts", 9, customer_no="P01-C000002")] == ["P01-B-000002", OTHER]


def test_a_cursor_is_good_for_its_own_list_and_filters_only(api: Any) -> None:
    _filled(api)
    cursor = api.client.get("/v1/movements", params={"limit": 1}).json()["next_cursor"]
    other_filters = api.client.get("/v1/movements", params={"cursor": cursor, "movement_type": "RECHARGE"})
    other_list = api.client.get("/v1/orders", params={"cursor": cursor})
    other_key = api.client.get("/v1/movements", params={"cursor": cursor}, headers=_platform(api, "P01"))
    for answer in (other_filters, other_list, other_key):
        assert (answer.status_code, answer.json()["code"]) == (422, "CURSOR_OF_OTHER_LIST")
    for garbage in ("x", "é", cursor[:-6], "bnVsbA==", "W10="):
        answer = api.client.get("/v1/movements", params={"cursor": garbage})
        assert (answer.status_code, answer.json()["code"]) == (422, "CURSOR_INVALID"), garbage


def test_pages_stay_whole_while_others_post(api: Any) -> None:
    _filled(api)
    there = [row["movement_id"] for row in _pages(api, "/v1/movements", 1000)]
    stopped = threading.Event()

    def post() -> None:
        while not stopped.is_set():
            api.recharge(OTHER, 1)

    writer = threading.Thread(target=post)
    writer.start()
    try:
        seen = [row["movement_id"] for _ in range(5) for row in [*_pages(api, "/v1/movements", 1), {"movement_id": None}]]
    finally:
        stopped.set()
        writer.join()
    walks: list[list[int]] = [[]]
    for number in seen:
        if number is None:
            walks.append([])
        else:
            walks[-1].append(number)
    for walk in walks[:-1]:
        assert len(walk) == len(set(walk))
        assert set(there) <= set(walk)


def test_a_persons_look_and_export_are_written_down_and_a_viewer_sees_nothing(api: Any) -> None:
    _filled(api)
    officer = api.staff("ann", "officer")
    assert api.client.get(f"/v1/accounts/{LENDER}", headers=officer).status_code == 200
    assert api.client.get("/v1/movements", params={"format": "csv", "account_no": LENDER}, headers=officer).status_code == 200
    lines = api.rows("SELECT kind, subject, row_count FROM auth.access_log ORDER BY access_id")
    assert lines == [("ACCOUNT_SEEN", LENDER, None), ("EXPORT", "movements", 5)]
    for path in (*LISTS, f"/v1/accounts/{LENDER}/statement?from=2026-01-01&to=2026-01-02"):
        answer = api.client.get(path, headers=api.staff("vic", "viewer"))
        assert (answer.status_code, answer.json()["code"]) == (403, "NOT_PERMITTED"), path
    file = api.client.get("/v1/accounts", params={"format": "csv"}, headers=api.staff("fin", "finance"))
    assert (file.status_code, file.json()["code"]) == (403, "NOT_PERMITTED")


BAD = (
    *("limit=0", "limit=1001", "limit=x", "account_no=", "account_no=%00", "account_no=P01%EF%BC%8DL", "account_no=" + "A" * 65),
    *("business_from=0001-01-01", "business_to=9999-12-31", "business_from=2026-02-30", "effective_from=2026-01-01T00:00:00"),
    *("effective_from=0001-01-01T00:00:00%2B14:00", "effective_before=9999-12-31T23:59:59-12:00", "amount_min_minor=1.5"),
    *("amount_min_minor=0", "amount_max_minor=99999999999999999999", "format=xml", "cursor=" + "A" * 513),
)


def test_bad_parameters_have_a_typed_error(api: Any) -> None:
    for query in BAD:
        answer = api.client.get(f"/v1/movements?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "PARAMETER_INVALID"), query
