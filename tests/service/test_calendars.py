"""Working-day calendars: seeded from the package, in versions, changed by two people and never in the past."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg
import pytest

from domain.calendars import Calendar
from domain.errors import BadInput
from domain.packs import Pack
from fundwatch import monthly
from lake import calendars as kept_by_runs
from reports.figures import _due_on
from reports.published import publication
from transactional import calendars

NEXT_YEAR: dict[str, Any] = {
    "base_version": 1,
    "source": "State Council 2026-11-04",
    "last_day": "2027-12-31",
    "days": {"2027-01-01": "HOLIDAY", "2027-02-06": "MAKE_UP", "2027-02-08": "HOLIDAY"},
}


def at(api: Any, moment: str) -> None:
    """Set the service's clock."""
    assert api.client.post("/v1/clock", json={"now": moment}).status_code == 200


def change(api: Any, payload: dict[str, Any], calendar: str = "CN") -> Any:
    return api.put_down("CALENDAR_CHANGE", calendar, payload, by=api.staff("ann", "officer"))


@pytest.mark.parametrize("name", ["CN", "GENERIC"])
def test_the_first_version_is_the_packaged_calendar_day_for_day(api: Any, name: str) -> None:
    packaged = Calendar.of(name)
    kept = Calendar.parse(calendars.exported(api.admin_url, name))
    assert (kept.name, kept.first, kept.last) == (packaged.name, packaged.first, packaged.last)
    assert kept.days(kept.first, kept.last) == packaged.days(packaged.first, packaged.last)


def test_a_year_is_read_with_its_days_off_and_its_make_up_days(api: Any) -> None:
    answer = api.client.get("/v1/calendars/CN?year=2026").json()
    assert (answer["version"], answer["first_day"], answer["last_day"]) == (1, "2015-01-01", "2026-12-31")
    assert "2026-10-01" in answer["holidays"] and all(
        day.startswith("2026") for day in answer["holidays"] + answer["make_up_days"]
    )
    assert all(date.fromisoformat(day).weekday() >= 5 for day in answer["make_up_days"]) and answer["make_up_days"]
    assert [one["calendar_id"] for one in api.client.get("/v1/calendars").json()["calendars"]] == ["CN", "GENERIC"]
    vic = api.staff("vic", "viewer")
    assert api.client.get("/v1/calendars/CN", headers=vic).json()["year"] is None
    assert api.client.get("/v1/calendars/CN", headers={"Authorization": "Bearer nobody"}).status_code == 401


def test_working_days_of_a_span_are_those_of_the_calendar(api: Any) -> None:
    answer = api.client.get("/v1/calendars/CN/working-days?from=2026-09-25&to=2026-10-12").json()
    first, last = date(2026, 9, 25), date(2026, 10, 12)
    expected = [one.day.isoformat() for one in Calendar.of("CN").days(first, last) if one.is_working_day]
    assert (answer["working_days"], answer["count"]) == (expected, len(expected))


UNKNOWN = [
    ("/CN/working-days?from=2026-12-30&to=2027-01-04", 422, "CALENDAR_UNCOVERED"),
    ("/CN/working-days?from=2014-12-31&to=2015-01-04", 422, "CALENDAR_UNCOVERED"),
    ("/CN/working-days?from=2026-02-02&to=2026-02-01", 422, "PARAMETER_INVALID"),
    ("/GENERIC/working-days?from=2026-01-01&to=2029-01-01", 422, "PARAMETER_INVALID"),
    ("/CN/working-days?from=2026-02-30&to=2026-03-01", 422, "PARAMETER_INVALID"),
    ("/CN/working-days", 422, "PARAMETER_INVALID"),
    ("/XX", 404, "CALENDAR_NOT_FOUND"),
    ("/CN?version=2", 404, "CALENDAR_NOT_FOUND"),
    ("/cn", 422, "PARAMETER_INVALID"),
    ("/CN?year=10000", 422, "PARAMETER_INVALID"),
    ("/XX/working-days?from=2026-01-01&to=2026-01-02", 404, "CALENDAR_NOT_FOUND"),
]


def test_what_a_calendar_does_not_know_is_refused(api: Any) -> None:
    for path, status, code in UNKNOWN:
        answer = api.client.get(f"/v1/calendars{path}")
        assert (answer.status_code, answer.json()["code"]) == (status, code), path


def test_two_people_add_a_year_and_the_version_before_stays_readable(api: Any) -> None:
    at(api, "2026-11-27T10:00:00+08:00")
    result = api.approved("CALENDAR_CHANGE", "CN", NEXT_YEAR)
    assert result == {"calendar_id": "CN", "version": 2, "last_day": "2027-12-31"}
    new = api.client.get("/v1/calendars/CN?year=2027").json()
    assert (new["holidays"], new["make_up_days"], new["actor"]) == (["2027-01-01", "2027-02-08"], ["2027-02-06"], "ben")
    span = api.client.get("/v1/calendars/CN/working-days?from=2026-12-31&to=2027-01-04").json()
    assert span["working_days"] == ["2026-12-31", "2027-01-04"]
    assert api.client.get("/v1/calendars/CN?version=1").json()["last_day"] == "2026-12-31"
    assert [one["version"] for one in api.client.get("/v1/calendars/CN/versions").json()["versions"]] == [2, 1]
    text = Calendar.parse(calendars.exported(api.admin_url, "CN"))
    assert text.is_working_day(date(2027, 2, 6)) and not text.is_working_day(date(2027, 2, 8))
    assert Calendar.parse(calendars.exported(api.admin_url, "CN", 1)).last == date(2026, 12, 31)
    assert api.rows("SELECT actor, subject FROM audit.change WHERE action = 'CALENDAR_CHANGED'") == [("ben", "CN")]
    assert api.rows("SELECT topic, payload ->> 'version' FROM outbox.event WHERE topic LIKE 'calendar%'") == [
        ("calendar.changed", "2")
    ]


def test_a_day_to_come_may_change_both_ways_and_back_to_a_regular_one(api: Any) -> None:
    at(api, "2026-08-01T10:00:00+08:00")
    there = {"base_version": 1, "source": "typhoon", "days": {"2026-08-12": "HOLIDAY", "2026-08-15": "MAKE_UP"}}
    api.approved("CALENDAR_CHANGE", "CN", there)
    back = {"base_version": 2, "source": "no typhoon", "days": {"2026-08-12": "REGULAR", "2026-08-15": "REGULAR"}}
    api.approved("CALENDAR_CHANGE", "CN", back)
    versions = "registry.calendar_version a, registry.calendar_version b"
    same = f"SELECT (a.holidays, a.make_up_days) = (b.holidays, b.make_up_days) FROM {versions}"
    assert api.rows(f"{same} WHERE a.calendar_id = 'CN' AND b.calendar_id = 'CN' AND a.version = 1 AND b.version = 3") == [
        (True,)
    ]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"days": {"2026-08-03": "HOLIDAY"}}, "CALENDAR_DAY_PAST"),
    ({"days": {"2026-08-04": "HOLIDAY"}}, "CALENDAR_DAY_PAST"),
    ({"days": {"2020-01-01": "REGULAR"}}, "CALENDAR_DAY_PAST"),
    ({"days": {"2014-12-31": "HOLIDAY"}}, "BODY_INVALID"),
    ({"days": {"2028-01-03": "HOLIDAY"}}, "BODY_INVALID"),
    ({"days": {"2026-08-15": "HOLIDAY"}}, "BODY_INVALID"),
    ({"days": {"2026-08-12": "MAKE_UP"}}, "BODY_INVALID"),
    ({"days": {"2026-08-12": "FEAST"}}, "BODY_INVALID"),
    ({"days": {"2026-08-12": None}}, "BODY_INVALID"),
    ({"days": {"2026-02-30": "HOLIDAY"}}, "BODY_INVALID"),
    ({"days": {"tomorrow": "HOLIDAY"}}, "BODY_INVALID"),
    ({"days": []}, "BODY_INVALID"),
    ({"days": {}, "last_day": None}, "BODY_INVALID"),
    ({"last_day": "2026-12-30"}, "BODY_INVALID"),
    ({"last_day": "2200-01-01"}, "BODY_INVALID"),
    ({"source": ""}, "BODY_INVALID"),
    ({"base_version": 2}, "CALENDAR_CHANGED"),
    ({"base_version": "1"}, "BODY_INVALID"),
    ({"more": 1}, "BODY_INVALID"),
    ({"days": {"2026-08-12": "REGULAR"}, "last_day": ...}, "NOTHING_CHANGES"),
]


def test_a_change_that_may_not_be_is_refused_and_leaves_nothing(api: Any) -> None:
    at(api, "2026-08-03T20:00:00+08:00")  # the fourth has begun in the east
    for change_of, code in REFUSED:
        payload = {name: value for name, value in (NEXT_YEAR | change_of).items() if value is not ...}
        assert change(api, payload).json().get("code") == code, change_of
    assert change(api, NEXT_YEAR, "XX").json()["code"] == "UNKNOWN_CALENDAR"
    assert api.rows("SELECT count(*) FROM work.approval") == [(0,)]
    assert api.rows("SELECT max(version) FROM registry.calendar_version") == [(1,)]


def test_a_day_that_came_while_the_proposal_waited_is_not_changed(api: Any) -> None:
    at(api, "2026-08-03T10:00:00+08:00")
    asked = change(api, {"base_version": 1, "source": "storm", "days": {"2026-08-12": "HOLIDAY"}}).json()
    at(api, "2026-08-12T09:00:00+08:00")
    assert api.decide(asked, by=api.staff("ben", "checker")).json()["code"] == "CALENDAR_DAY_PAST"
    assert api.rows("SELECT max(version) FROM registry.calendar_version") == [(1,)]


def test_a_proposal_on_an_older_version_is_not_carried_out(api: Any) -> None:
    at(api, "2026-08-03T10:00:00+08:00")
    first = change(api, NEXT_YEAR).json()
    ben = api.staff("ben", "checker")
    assert api.decide(first, by=ben).status_code == 201
    stale = change(api, NEXT_YEAR | {"last_day": "2028-12-31"})
    assert (stale.status_code, stale.json()["code"]) == (409, "CALENDAR_CHANGED")


def test_one_person_changes_no_calendar_and_no_version_is_ever_changed(api: Any) -> None:
    at(api, "2026-08-03T10:00:00+08:00")
    ben = api.staff("ben", "checker")
    asked = api.put_down("CALENDAR_CHANGE", "CN", NEXT_YEAR, by=ben).json()
    assert api.decide(asked, by=ben).json()["code"] == "OWN_APPROVAL"
    for name, role in (("aud", "auditor"), ("vic", "viewer")):
        assert api.put_down("CALENDAR_CHANGE", "GENERIC", NEXT_YEAR, by=api.staff(name, role)).json()["code"] == "NOT_PERMITTED"
    for url, state in ((api.admin_url, "FW403"), (api.service_url, "42501")):
        with psycopg.connect(url) as connection, pytest.raises(psycopg.Error) as refused:
            connection.execute("UPDATE registry.calendar_version SET source = 'x'")
        assert refused.value.sqlstate == state


def test_there_is_no_text_of_an_unknown_calendar_or_version(api: Any) -> None:
    for name, version in (("XX", None), ("CN", 2)):
        with pytest.raises(BadInput, match=name):
            calendars.exported(api.admin_url, name, version)


def test_pages_reports_and_dormancy_count_by_the_version_in_force(api: Any, database: Any) -> None:
    at(api, "2026-11-05T10:00:00+08:00")
    asked = change(api, NEXT_YEAR).json()
    assert api.decide(asked, by=api.staff("ben", "checker")).status_code == 201
    for role in ("reader", "service", "jobs"):
        with psycopg.connect(database.url(role)) as connection:
            assert calendars.in_force(connection, "CN").last == date(2027, 12, 31)
            assert calendars.in_force(connection, "GENERIC") == Calendar.of("GENERIC")
    told = {day: monthly.reports_on(database.settings, date(2027, 1, day), lambda _: None) for day in (7, 8)}
    assert (told[7].get("skipped"), told[8].get("period")) == (True, "2026-12")  # the first, a Friday, is off
    at(api, "2027-01-11T10:00:00+08:00")
    with psycopg.connect(api.admin_url) as connection:
        connection.execute(
            """INSERT INTO run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
               SELECT n, '2026-12-31', '2026-12-31', 0, '[]', 'x', 'PUBLISHED', now() FROM generate_series(1, 2) n"""
        )
        kept_by_runs.keep(connection, 2, kept_by_runs.in_force(connection, "CN"))
    due = []
    for run_id in (1, 2):
        with psycopg.connect(api.admin_url) as connection:
            published = ("2026-12-31", "P01", run_id, run_id)
            connection.execute("INSERT INTO run.published VALUES (%s, %s, %s, %s, 'COMPLETE', NULL, now())", published)
        due.append(_due_on(Pack.of("CN_2017"), publication(database.settings, "P01", "2026-12")))
    assert due == [None, "2027-01-08"]  # the packaged calendar ends with 2026; 2027-01-01 is a holiday of the version in force
    body = {"platform_id": "P01", "limit": 1}
    headers = {**api.staff("ann", "officer"), "Idempotency-Key": "dormant"}
    assert api.client.post("/v1/dormancy-proposals", json=body, headers=headers).status_code == 201
    at(api, "2028-01-01T10:00:00+08:00")
    refused = api.client.post("/v1/dormancy-proposals", json=body, headers={**headers, "Idempotency-Key": "later"})
    assert refused.json()["code"] == "CALENDAR_NOT_COVERED"
