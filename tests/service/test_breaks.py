"""Work on breaks (spec 07 section 7.4): states over runs, four eyes, limits, what the next night makes of them."""

from __future__ import annotations

import json
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from jsonschema import Draft202012Validator

from domain.errors import BadInput
from domain.vocabulary import Severity
from recon.severity import escalated
from reports import reconciliation
from reports.pdf_signature import attachment, faults
from reports.signing import signer
from tests.service.adjusting import ACCOUNT, ITEM, NEXT_NIGHT, NIGHT, PUBLISHED, Desk
from transactional.breaks import review_published

NEXT_DAY = "2026-09-01"
TOTAL_ITEM, OLD_ITEM = "c3" * 16, "d4" * 16


@pytest.fixture
def desk(api: Any) -> Desk:
    """Three items of P01 on the newest date: one of 500, a wrong total, and one nine working days old."""
    desk = Desk(api)
    desk.clock(NIGHT)
    published(desk, 1, PUBLISHED, (ITEM, "B01", 500, 0), (TOTAL_ITEM, "B21", 7, 0), (OLD_ITEM, "B25", 0, 9))
    return desk


def published(desk: Desk, run_id: int, day: str, *items: tuple[str, str, int, int], state: str = "COMPLETE") -> None:
    """Publish a date with items (number, code, amount, age)."""
    desk.publish(run_id, day)
    with psycopg.connect(desk.api.admin_url) as connection:
        connection.execute("UPDATE run.published SET state = %s WHERE run_id = %s", [state, run_id])
        for item_id, code, amount, age in items:
            connection.execute(
                """INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, recon_id, code, opened_code, severity,
                     match_key, account_no, currency, amount_minor, opened_on, age_working_days, explanation)
                   VALUES (%s, %s, 'P01', %s, 'R3', %s, %s, %s, %s, %s, 'CNY', %s, '2026-08-31', %s, 'because')""",
                [
                    day,
                    run_id,
                    item_id,
                    code,
                    code,
                    "MEDIUM" if code == "B25" else "HIGH",
                    f"REQ-{item_id[:2]}#1",
                    ACCOUNT,
                    amount,
                    age,
                ],
            )


def moved(desk: Desk, state: str, by: str = "olga", role: str = "officer", item: str = ITEM, note: str = "looked at") -> Any:
    return desk.call(f"breaks/{item}/state", {"state": state, "note": note}, desk.person(by, role))


def proposed(desk: Desk, kind: str, payload: dict[str, Any], subject: str = ITEM, by: str = "olga", **more: Any) -> Any:
    body = {"kind": kind, "subject": subject, "payload": payload, "reason": "agreed with the platform", **more}
    return desk.call("approvals", body, desk.person(by, "officer"))


def decided(desk: Desk, made: Any, by: str = "carl") -> Any:
    document = made.json()
    body = {"approve": True, "payload_hash": document["payload_hash"]}
    return desk.call(f"approvals/{document['approval_id']}/decision", body, desk.person(by, "checker"))


def limit(desk: Desk, amount: int) -> None:
    made = proposed(desk, "WRITE_OFF_LIMIT", {"currency": "CNY", "amount_max_minor": amount}, subject="CNY")
    assert decided(desk, made).status_code == 201


def listed(desk: Desk, **filters: Any) -> list[dict[str, Any]]:
    answer = desk.api.client.get("/v1/breaks", params=filters, headers=desk.person("olga", "officer"))
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["rows"]
    return rows


def one(desk: Desk, item: str = ITEM) -> dict[str, Any]:
    answer = desk.api.client.get(f"/v1/breaks/{item}", headers=desk.person("olga", "officer"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    document = desk.api.client.get("/openapi.json").json()
    told = document["paths"]["/v1/breaks/{item_id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(Draft202012Validator({**told, "components": document["components"]}).iter_errors(found)) == []
    return found


def review(desk: Desk, run_id: int) -> dict[str, int]:
    return review_published(desk.api.client.app.state.service.settings, run_id)


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_items_are_listed_with_state_sla_and_severity_that_rises_with_age(desk: Desk) -> None:
    rows = {row["item_id"]: row for row in listed(desk)}
    assert {
        item: (row["state"], row["severity"], row["escalated_severity"], row["is_overdue"]) for item, row in rows.items()
    } == {
        ITEM: ("OPEN", "HIGH", "HIGH", False),
        TOTAL_ITEM: ("OPEN", "HIGH", "HIGH", False),
        OLD_ITEM: ("OPEN", "MEDIUM", "CRITICAL", True),
    }
    with psycopg.connect(desk.api.admin_url) as connection:
        # as the night writes it from 0043 on: the figures are the same
        connection.execute(
            """UPDATE mart.open_item SET default_severity = severity, severity = work.escalated(severity, age_working_days)
               WHERE item_id = %s""",
            [OLD_ITEM],
        )
        connection.commit()
        assert listed(desk, code="B25") == [rows[OLD_ITEM]]
        assert _report(desk).json()["report"]["breaks"][-1]["critical"] == 1
        grid = "SELECT s, a, work.escalated(s, a) FROM unnest(%s::text[]) s, generate_series(-1, 40) a ORDER BY 1, 2"
        ours = connection.execute(grid, [list(Severity)]).fetchall()
    text = f"SELECT s, a, {escalated('s', 'a')} FROM unnest(?) u(s), generate_series(-1, 40) g(a) ORDER BY 1, 2"
    assert duckdb.execute(text, [[str(word) for word in Severity]]).fetchall() == ours
    assert [row["item_id"] for row in listed(desk, is_overdue=True)] == [OLD_ITEM]
    assert [row["item_id"] for row in listed(desk, code="B21", severity="HIGH")] == [TOTAL_ITEM]
    assert listed(desk, state="INVESTIGATING") == []
    whole = desk.api.client.get("/v1/breaks", headers={**desk.person("olga", "officer"), "Accept": "text/csv"})
    assert whole.headers["x-row-count"] == "3"


def test_a_platform_sees_its_own_items_only_and_moves_none(desk: Desk) -> None:
    own, other = desk.platform(), desk.platform("P02")
    assert len(desk.api.client.get("/v1/breaks", headers=own).json()["rows"]) == 3
    assert desk.api.client.get("/v1/breaks", headers=other).json()["rows"] == []
    assert refused(desk.api.client.get(f"/v1/breaks/{ITEM}", headers=other)) == (404, "BREAK_NOT_FOUND")
    assert refused(desk.call(f"breaks/{ITEM}/state", {"state": "INVESTIGATING", "note": "x"}, own)) == (401, "NOT_AUTHENTICATED")


def test_people_s_words_stay_over_re_runs_and_the_history_shows_every_run(desk: Desk) -> None:
    assert moved(desk, "INVESTIGATING").status_code == 201
    assert desk.call("break-assignments", {"item_id": ITEM, "person": "olga"}, desk.person("carl", "checker")).status_code == 201
    published(desk, 2, PUBLISHED, (ITEM, "B04", 500, 0))  # the same date again, other rules: another code
    assert review(desk, 2) == {"reopened": 0, "resolved": 0}
    found = one(desk)
    assert (found["state"], found["code"], found["investigator"], found["is_open"]) == ("INVESTIGATING", "B04", "olga", True)
    assert [(run["run_id"], run["version"], run["code"]) for run in found["history"]] == [(1, 1, "B01"), (2, 2, "B04")]
    assert [(event["state"], event["code"], event["actor"]) for event in found["events"]] == [("INVESTIGATING", "B01", "olga")]


def test_what_was_called_resolved_is_open_again_when_the_next_night_still_shows_it(desk: Desk) -> None:
    moved(desk, "RESOLVED", note="platform posted it")
    assert review(desk, 1) == {"reopened": 0, "resolved": 0}  # the night before the word says nothing about it
    desk.clock(NEXT_NIGHT)
    published(desk, 2, NEXT_DAY, (ITEM, "B01", 500, 1))
    assert review(desk, 2) == {"reopened": 1, "resolved": 0}
    assert review(desk, 2) == {"reopened": 0, "resolved": 0}
    found = one(desk)
    assert (found["state"], found["state_actor"], found["state_note"]) == ("REOPENED", "night", "still open on 2026-09-01")


def test_what_people_work_on_and_is_gone_is_resolved_with_what_cured_it(desk: Desk) -> None:
    moved(desk, "INVESTIGATING")
    desk.clock(NEXT_NIGHT)
    published(desk, 2, NEXT_DAY)
    with psycopg.connect(desk.api.admin_url) as connection:
        connection.execute(
            """INSERT INTO mart.file_control (business_date, run_id, platform_id, sender_id, file_kind, file_name, state, sha256)
               VALUES ('2026-09-01', 2, 'P01', 'P01', 'postings', 'P01.postings.csv.gz', 'ACCEPTED', 'ab')"""
        )
    assert review(desk, 2) == {"reopened": 0, "resolved": 1}
    found = one(desk)
    assert (found["is_open"], [event["state"] for event in found["events"]]) == (False, ["INVESTIGATING", "RESOLVED"])
    assert found["cure"]["gone_on"] == "2026-09-01" and found["cure"]["files"][0]["file_kind"] == "postings"
    assert refused(moved(desk, "INVESTIGATING")) == (409, "BREAK_NOT_OPEN")
    assert listed(desk) == []


def test_a_night_of_an_incomplete_date_judges_nothing(desk: Desk) -> None:
    moved(desk, "INVESTIGATING")
    desk.clock(NEXT_NIGHT)
    published(desk, 2, NEXT_DAY, state="INCOMPLETE")
    assert review(desk, 2) == {"reopened": 0, "resolved": 0}
    assert {row["item_id"] for row in listed(desk)} == {ITEM, TOTAL_ITEM, OLD_ITEM}


def test_a_difference_is_accepted_by_a_second_person_on_the_amount_that_was_seen(desk: Desk) -> None:
    payload = {"amount_minor": 500, "currency": "CNY"}
    assert refused(proposed(desk, "BREAK_ACCEPTANCE", {**payload, "amount_minor": 499}, platform_id="P01")) == (
        422,
        "BREAK_DIFFERS",
    )
    made = proposed(desk, "BREAK_ACCEPTANCE", payload, platform_id="P01")
    assert made.status_code == 201, made.text
    answer = decided(desk, made)
    assert answer.status_code == 201 and answer.json()["result"]["state"] == "ACCEPTED", answer.text
    assert one(desk)["state"] == "ACCEPTED"
    published(desk, 2, NEXT_DAY, (ITEM, "B01", 500, 1))
    assert review(desk, 2) == {"reopened": 0, "resolved": 0}
    published(desk, 3, NEXT_DAY, (ITEM, "B01", 501, 1))
    assert review(desk, 3) == {"reopened": 1, "resolved": 0}
    assert one(desk)["state_note"] == "B01 of 500 was agreed to, B01 of 501 is open"


def test_a_write_off_has_a_limit_and_a_checker_who_did_not_investigate(desk: Desk) -> None:
    payload = {"amount_minor": 500, "currency": "CNY"}
    assert refused(proposed(desk, "BREAK_WRITE_OFF", payload, platform_id="P01")) == (422, "WRITE_OFF_EXCEEDED")
    limit(desk, 499)
    assert refused(proposed(desk, "BREAK_WRITE_OFF", payload, platform_id="P01")) == (422, "WRITE_OFF_EXCEEDED")
    limit(desk, 500)
    desk.call("break-assignments", {"item_id": ITEM, "person": "carl"}, desk.person("cleo", "checker"))
    made = proposed(desk, "BREAK_WRITE_OFF", payload, platform_id="P01")
    assert (
        refused(decided(desk, made)) == (422, "CHECKER_INVESTIGATED") or refused(decided(desk, made))[1] == "CHECKER_INVESTIGATED"
    )
    assert one(desk)["state"] == "OPEN"
    assert decided(desk, made, by="cleo").json()["result"]["state"] == "WRITTEN_OFF"
    assert refused(moved(desk, "INVESTIGATING")) == (409, "STATE_CONFLICT")
    assert moved(desk, "REOPENED").status_code == 201


@pytest.mark.parametrize("kind", ["BREAK_ACCEPTANCE", "BREAK_WRITE_OFF"])
def test_totals_and_files_are_put_right_and_never_agreed_to(desk: Desk, kind: str) -> None:
    for item, amount in ((TOTAL_ITEM, 7), (OLD_ITEM, 0)):
        made = proposed(desk, kind, {"amount_minor": amount, "currency": "CNY"}, subject=item, platform_id="P01")
        assert refused(made) == (422, "BREAK_STAYS")


def test_bad_words_and_unknown_items_are_refused_and_write_nothing(desk: Desk) -> None:
    before = desk.api.rows("SELECT count(*) FROM work.break_event")
    assert refused(moved(desk, "ACCEPTED"))[1] == "BODY_INVALID"
    assert refused(moved(desk, "REOPENED")) == (409, "STATE_CONFLICT")
    assert refused(moved(desk, "INVESTIGATING", note=" "))[1] == "BODY_INVALID"
    assert refused(moved(desk, "INVESTIGATING", item="ee" * 16)) == (404, "BREAK_NOT_FOUND")
    assert refused(moved(desk, "INVESTIGATING", by="vera", role="viewer")) == (403, "NOT_PERMITTED")
    assert desk.api.rows("SELECT count(*) FROM work.break_event") == before


def _report(desk: Desk, day: str = PUBLISHED, platform: str = "P01", by: dict[str, str] | None = None) -> Any:
    return desk.api.client.get(f"/v1/reconciliations/{platform}/{day}", headers=by or desk.person("olga", "officer"))


def _signing(desk: Desk, day: str, report: dict[str, Any], **more: Any) -> Any:
    payload = {"run_id": report["report"]["run_id"], "report_sha256": report["report_sha256"], **more}
    return proposed(desk, "RECON_SIGN_OFF", payload, subject=day, platform_id="P01")


def test_the_daily_report_has_every_part_and_its_hash_is_that_of_its_text(desk: Desk) -> None:
    with psycopg.connect(desk.api.admin_url) as connection:
        connection.execute("INSERT INTO mart.recon_summary VALUES ('2026-08-31', 1, 'P01', 'R3', 'CNY', 99, 12345, 1)")
        connection.execute("INSERT INTO mart.balance_equation VALUES ('2026-08-31', 1, 'P01', 'B-1', 'CNY', 'K', 700, false)")
        effect = "INSERT INTO mart.open_item_effect VALUES ('2026-08-31', 1, 'P01', %s, 'R3', 'B01', 'V', 'A', 'CNY', 500)"
        connection.execute(effect, [ITEM])
    found = _report(desk).json()
    report = found["report"]
    assert sha256(found["report_text"].encode()).hexdigest() == found["report_sha256"]
    assert json.loads(found["report_text"]) == report
    (compared,) = report["runs"]
    assert (compared["matched"], compared["opened"], compared["open_items"], compared["matched_share"]) == (99, 3, 1, "0.970588")
    names = ("age_bucket", "items", "net_effect_minor", "overdue")
    by_code = {line["code"]: tuple(line[name] for name in names) for line in report["breaks"]}
    assert by_code == {"B01": ("0", 1, 500, 0), "B21": ("0", 1, 0, 0), "B25": ("8-30", 1, 0, 1)}
    assert [blocker["code"] for blocker in report["blockers"]] == ["B21", "B25"]
    assert report["equations"][0]["term"] == "K"
    assert refused(_report(desk, "2026-08-30")) == (404, "DATE_NOT_PUBLISHED")
    assert refused(_report(desk, by=desk.platform("P02"))) == (404, "DATE_NOT_PUBLISHED")


def test_a_report_is_signed_by_two_people_unless_totals_or_files_are_open(desk: Desk) -> None:
    blocked = _report(desk).json()
    assert refused(_signing(desk, PUBLISHED, blocked)) == (422, "SIGN_OFF_BLOCKED")
    published(desk, 2, NEXT_DAY, (ITEM, "B01", 500, 1))
    report = _report(desk, NEXT_DAY).json()
    assert refused(_signing(desk, NEXT_DAY, report, report_sha256="00" * 32)) == (409, "REPORT_DIFFERS")
    made = _signing(desk, NEXT_DAY, report)
    assert decided(desk, made).status_code == 201
    signed = _report(desk, NEXT_DAY).json()["sign_off"]
    assert (signed["maker"], signed["checker"], signed["report_sha256"]) == ("olga", "carl", report["report_sha256"])
    assert refused(_signing(desk, NEXT_DAY, report)) == (409, "STATE_CONFLICT")


def test_a_report_that_changed_between_the_two_is_not_signed(desk: Desk) -> None:
    published(desk, 2, NEXT_DAY, (ITEM, "B01", 500, 1))
    made = _signing(desk, NEXT_DAY, _report(desk, NEXT_DAY).json())
    published(desk, 3, NEXT_DAY, (ITEM, "B01", 499, 1))
    assert refused(decided(desk, made)) == (409, "REPORT_DIFFERS")
    assert _report(desk, NEXT_DAY).json()["sign_off"] is None


def test_the_report_as_files_is_the_same_text_and_a_signed_pdf_in_both_languages(desk: Desk, tmp_path: Path) -> None:
    settings = desk.api.client.app.state.service.settings
    report = reconciliation.read(settings, "P01", date(2026, 8, 31))
    assert report.sha256 == _report(desk).json()["report_sha256"]
    paths = reconciliation.build(report, signer(settings), tmp_path)
    assert [path.name for path in paths] == ["reconciliation.json", "reconciliation.zh.pdf", "reconciliation.en.pdf"]
    assert sha256(paths[0].read_bytes()).hexdigest() == report.sha256
    for path in paths[1:]:
        assert attachment(path.read_bytes(), "reconciliation.json") == paths[0].read_bytes()
        assert faults(path.read_bytes(), signer(settings).certificate, path.name) == []
    assert "2 reasons" in reconciliation.page(report, "en") and "不能签核" in reconciliation.page(report, "zh")
    assert "built-in" not in reconciliation.page(report, "en")  # a word that a mapping knows otherwise
    with pytest.raises(BadInput, match="nothing of P01 on 2026-01-01 is published"):
        reconciliation.read(settings, "P01", date(2026, 1, 1))
