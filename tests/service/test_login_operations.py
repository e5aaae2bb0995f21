"""The operations page: the night's state, and controls from proposal to decision by two people."""

from __future__ import annotations

from typing import Any

import pytest

T0 = "2026-08-01T00:00:00Z"
RERUN = {"kind": "RERUN", "platform": "P01", "date": "2026-08-30", "reason": "a corrected <statement> came"}
WITHOUT = {"kind": "WITHOUT_FILE", "platform": "P01", "date": "2026-08-31", "file": "channel@PC01", "reason": "down until Monday"}


@pytest.fixture
def desk(pages: Any) -> Any:
    """Two platforms: P01 published 30 August and lacks a channel file on the 31st; a run that failed."""
    for statement in (
        f"""INSERT INTO registry.platform SELECT id, id, id, 'CNY', 'CN_2017', '2026-08-01', '{T0}'
            FROM unnest(array['P01', 'P02']) id""",
        f"INSERT INTO registry.payment_company VALUES ('PC01', 'Pay', '{T0}')",
        f"INSERT INTO registry.payment_company_platform VALUES ('PC01', 'P01', '{T0}')",
        f"""INSERT INTO run.run (first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
            SELECT day, day, 0, '{{}}', 'x', state, '{T0}'
            FROM (VALUES (date '2026-08-30', 'PUBLISHED'), ('2026-08-31', 'PUBLISHED'), ('2026-09-01', 'OPEN')) r (day, state)""",
        f"INSERT INTO run.published VALUES ('2026-08-30', 'P01', 1, 1, 'COMPLETE', null, '{T0}')",
        f"INSERT INTO run.published VALUES ('2026-08-31', 'P01', 1, 2, 'INCOMPLETE', 'PC01/P01.channel is missing', '{T0}')",
        """INSERT INTO mart.open_item (business_date, run_id, platform_id, item_id, code, match_key, account_date, currency,
             amount_minor, explanation)
           VALUES ('2026-08-31', 2, 'P01', 'i', 'B24', 'PC01/P01.channel', '2026-08-31', '', 0, 'did not come')""",
        """INSERT INTO run.step (run_id, step, state, detail) VALUES (3, 'land', 'DONE', '{}'),
             (3, 'reconcile', 'FAILED', '{"error": "ServiceMissing: HBase <does> not answer"}')""",
    ):
        pages.rows(statement)
    return pages


def test_the_page_shows_how_the_night_stands(desk: Any) -> None:
    for role in ("officer", "checker", "admin", "auditor"):
        page = desk.visitor(role).get("/operations?lang=en").text
        assert "The night is not held" in page
        assert "PC01/P01.channel" in page and "did not come" in page
        assert "ServiceMissing: HBase &lt;does&gt; not answer" in page
        assert ("Propose a control" in page) == (role in ("officer", "checker"))
    page = desk.visitor("officer").get("/operations?lang=zh&platform=P01&date=2026-08-31&file=channel%40PC01").text
    assert '<option value="channel@PC01" selected>' in page
    assert 'value="2026-08-31"' in page


def test_one_person_proposes_and_another_decides(desk: Any) -> None:
    officer, checker = desk.visitor("officer"), desk.visitor("checker")
    answer = officer.post("/operations/controls?lang=en", RERUN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/operations?lang=en&done=proposed&control=1")
    page = officer.get(answer.headers["location"]).text
    assert "Control #1 is proposed" in page and "a corrected &lt;statement&gt; came" in page
    assert 'value="approve"' not in page  # an officer decides nothing
    assert officer.post("/operations/controls/1/decision", {"decision": "approve"}).status_code == 403

    assert 'value="approve"' in checker.get("/operations").text
    refused = checker.post("/operations/controls/1/decision?lang=en", {"decision": "reject"})
    assert refused.status_code == 422 and "A rejection needs a note" in refused.text
    assert checker.post("/operations/controls/1/decision", {"decision": "perhaps"}).status_code == 422
    done = checker.post("/operations/controls/1/decision?lang=en", {"decision": "approve", "note": "seen"})
    assert done.headers["location"] == "/operations?lang=en&done=approved&control=1"
    again = checker.post("/operations/controls/1/decision?lang=en", {"decision": "reject", "note": "no"})
    assert again.status_code == 422 and "decided already" in again.text
    assert desk.rows("SELECT maker, checker, state, note FROM ops.control_state") == [("officer", "checker", "APPROVED", "seen")]


def test_a_checker_does_not_decide_their_own_proposal(desk: Any) -> None:
    checker = desk.visitor("checker")
    assert checker.post("/operations/controls", WITHOUT).status_code == 303
    page = checker.get("/operations?lang=en").text
    assert "You proposed this one" in page and 'value="approve"' not in page
    answer = checker.post("/operations/controls/1/decision?lang=zh", {"decision": "approve"})
    assert answer.status_code == 422 and "须由第二人复核" in answer.text
    assert desk.rows("SELECT state, sender_id, file_kind FROM ops.control_state") == [("PENDING", "PC01", "channel")]


def test_a_hold_is_shown_until_it_is_resumed(desk: Any) -> None:
    officer, checker = desk.visitor("officer"), desk.visitor("checker")
    for number, kind in ((1, "HOLD"), (2, "RESUME")):
        assert officer.post("/operations/controls", {"kind": kind, "reason": "the account does not add up"}).status_code == 303
        assert checker.post(f"/operations/controls/{number}/decision", {"decision": "approve"}).status_code == 303
        held = "The night is held since" in officer.get("/operations?lang=en").text
        assert held == (kind == "HOLD")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "STOP"}, "no such control"),
        ({"reason": "   "}, "needs a reason"),
        ({"reason": "x" * 501}, "needs a reason"),
        ({"platform": "P99"}, "no such platform"),
        ({"date": "2026-13-45"}, "needs other fields"),
        ({"date": ""}, "needs other fields"),
        ({"date": "2026-09-30"}, "not published yet"),
        ({"date": "2020-01-01"}, "before the platform was onboarded"),
        ({"kind": "RESUME", "platform": "", "date": ""}, "not held"),
        ({"kind": "HOLD"}, "needs other fields"),
        (WITHOUT | {"file": "channel@PC99"}, "sends no such file"),
        (WITHOUT | {"file": "channel@="}, "sends no such file"),
        (WITHOUT | {"file": "nothing@PC01"}, "no such kind of file"),
        (WITHOUT | {"file": "'; DROP TABLE ops.control; --"}, "needs other fields"),
    ],
)
def test_controls_that_make_no_sense_are_refused(desk: Any, change: dict[str, str], sentence: str) -> None:
    answer = desk.visitor("officer").post("/operations/controls?lang=en", RERUN | change)
    assert answer.status_code == 422
    assert sentence in answer.text and "Nothing was changed" in answer.text
    assert desk.rows("SELECT count(*) FROM ops.control") == [(0,)]


def test_a_platforms_own_file_is_sent_by_the_platform(desk: Any) -> None:
    answer = desk.visitor("officer").post("/operations/controls", WITHOUT | {"file": "balances@="})
    assert answer.status_code == 303
    assert desk.rows("SELECT sender_id, file_kind FROM ops.control") == [("P01", "balances")]
