"""Adjustments of customers' money (spec 07 section 7.8): states, four eyes, consent, residual, one posting, verification."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import errors

from tests.service.adjusting import ACCOUNT, ITEM, NEXT_NIGHT, NIGHT, PUBLISHED, Desk
from transactional.adjustments import verify_published
from transactional.verify import verify

OTHER_ITEM = "b2" * 16
FROZEN_TABLES = (
    "work.adjustment",
    "work.adjustment_event",
    "work.consent_request",
    "work.consent_token",
    "work.consent_answer",
    "work.break_assignment",
)


@pytest.fixture
def desk(api: Any) -> Desk:
    """Book B lacks 500 on ACCOUNT, and 300 too much stands on another account; 1,000 are there."""
    desk = Desk(api)
    desk.clock(NIGHT)
    api.recharge(ACCOUNT, 1_000)
    desk.publish(1, PUBLISHED, (ITEM, ACCOUNT, 500), (OTHER_ITEM, ACCOUNT, -300))
    return desk


@pytest.fixture
def debit(api: Any) -> Desk:
    """Book B has 500 too much on ACCOUNT."""
    desk = Desk(api)
    desk.clock(NIGHT)
    api.recharge(ACCOUNT, 1_000)
    desk.publish(1, PUBLISHED, (ITEM, ACCOUNT, -500))
    return desk


def refused(answer: Any) -> tuple[int, str]:
    found: tuple[int, str] = (answer.status_code, answer.json()["code"])
    return found


def everything(desk: Desk) -> list[Any]:
    """All that a refusal leaves as it was."""
    content = desk.api.content()
    content.pop("api.answer")
    return [content, *(desk.api.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in FROZEN_TABLES)]


def events(desk: Desk, made: int) -> list[str]:
    return [row[0] for row in desk.api.rows(f"SELECT state FROM work.adjustment_event WHERE adjustment_id = {made} ORDER BY seq")]


def topics(desk: Desk) -> list[str]:
    return [row[0] for row in desk.api.rows("SELECT topic FROM outbox.event WHERE topic LIKE 'adjustment.%' ORDER BY event_id")]


def test_a_credit_goes_through_two_people_and_one_compensating_order(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    assert desk.balance() == 1_000
    posted = desk.step(made, "posting", "fay")
    assert (posted.status_code, posted.json()["state"], posted.json()["posted_on"]) == (201, "POSTED", "2026-09-01")
    assert desk.balance() == 1_500
    assert events(desk, made) == ["DRAFT", "PENDING_APPROVAL", "APPROVED", "SENT_TO_BANK", "POSTED"]
    order = desk.api.rows(
        """SELECT o.request_no, m.movement_type, d.account_role, c.account_no, m.amount_minor FROM ledger.trade_order o
           JOIN ledger.movement m USING (order_id) JOIN registry.account d ON d.account_id = m.debit_account_id
           JOIN registry.account c ON c.account_id = m.credit_account_id WHERE o.request_no LIKE 'ADJ-%'"""
    )
    assert order == [(f"ADJ-{made}", "ADJUST_INCREASE", "SUSPENSE", ACCOUNT, 500)]
    assert topics(desk) == ["adjustment.credit_notice"]
    assert verify(desk.api.service_url).faults == ()


def test_a_debit_takes_money_only_with_the_customers_consent(debit: Desk) -> None:
    made = debit.created("DEBIT", 200)
    assert refused(debit.step(made, "submission", "fay")) == (409, "ADJUSTMENT_STATE")
    asked = debit.step(made, "consent-request", "fay", text_version="debit-1")
    assert (asked.status_code, asked.json()["state"]) == (201, "PENDING_CONSENT")
    assert refused(debit.step(made, "submission", "fay")) == (409, "ADJUSTMENT_STATE")
    assert topics(debit) == ["adjustment.consent_requested"]
    assert debit.answer(made, debit.token(made), 200).json() == {"adjustment_id": made, "state": "CONSENTED"}
    assert debit.step(made, "submission", "fay").status_code == 201
    assert debit.step(made, "decision", "flo", approve=True).json()["state"] == "APPROVED"
    assert debit.step(made, "posting", "fay").json()["state"] == "POSTED"
    assert debit.balance() == 800
    assert debit.api.client.get(f"/v1/adjustments/{made}", headers=debit.person("fay")).json()["consent"]["channel"] == "OTP"


def test_a_customer_who_refuses_ends_the_debit(debit: Desk) -> None:
    made = debit.created("DEBIT", 200)
    debit.step(made, "consent-request", "fay", text_version="debit-1")
    assert debit.answer(made, debit.token(made), 200, is_given=False).json()["state"] == "REFUSED"
    assert refused(debit.step(made, "submission", "fay")) == (409, "ADJUSTMENT_STATE")
    assert debit.created("DEBIT", 500) > made


def test_a_consent_to_something_else_is_none(debit: Desk) -> None:
    made = debit.created("DEBIT", 200)
    debit.step(made, "consent-request", "fay", text_version="debit-1")
    token, by = debit.token(made), debit.platform()
    before = everything(debit)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"amount_minor": 201}, "CONSENT_DIFFERS"),
        ({"text_version": "debit-2"}, "CONSENT_DIFFERS"),
        ({"signed_at": "2026-08-01T00:00:00Z"}, "CONSENT_DIFFERS"),
        ({"signed_at": "2027-01-01T00:00:00Z"}, "CONSENT_DIFFERS"),
        ({"token": "A" * 43}, "CONSENT_TOKEN_INVALID"),
    ]
    for more, code in cases:
        assert debit.answer(made, token, 200, by, **more).json()["code"] == code
    assert everything(debit) == before
    assert debit.state(made) == "PENDING_CONSENT"


def test_a_token_is_of_one_adjustment_of_one_use_and_the_newest_only(debit: Desk) -> None:
    first, second = debit.created("DEBIT", 200), debit.created("DEBIT", 200)
    for made in (first, second):
        debit.step(made, "consent-request", "fay", text_version="debit-1")
    old = debit.token(first)
    token = debit.token(first)
    assert refused(debit.answer(second, token, 200)) == (422, "CONSENT_TOKEN_INVALID")
    assert refused(debit.answer(first, old, 200)) == (422, "CONSENT_TOKEN_INVALID")
    assert debit.answer(first, token, 200).status_code == 201
    assert refused(debit.answer(first, token, 200)) == (409, "CONSENT_USED")
    assert refused(debit.call(f"adjustments/{first}/consent-token", {}, debit.platform())) == (409, "ADJUSTMENT_STATE")


def test_the_token_is_nowhere_but_in_the_platforms_answer(debit: Desk) -> None:
    made = debit.created("DEBIT", 200)
    debit.step(made, "consent-request", "fay", text_version="debit-1")
    by, key = debit.platform(), {"Idempotency-Key": "token-1"}
    path = f"/v1/adjustments/{made}/consent-token"
    first = debit.api.client.post(path, json={}, headers={**by, **key})
    again = debit.api.client.post(path, json={}, headers={**by, **key})
    token = first.json()["token"]
    assert (len(token), again.json()["token"], again.headers["idempotency-replayed"]) == (43, None, "true")
    assert debit.answer(made, token, 200).status_code == 201
    tables = debit.api.rows(
        """SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
           WHERE schemaname IN ('work', 'api', 'audit', 'outbox', 'ledger')"""
    )
    for (table,) in tables:
        assert debit.api.rows(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%{token}%'") == [(0,)], table


def test_another_platforms_key_sees_no_such_adjustment_and_the_desk_cannot_consent(debit: Desk) -> None:
    made = debit.created("DEBIT", 200)
    debit.step(made, "consent-request", "fay", text_version="debit-1")
    token = debit.token(made)
    assert refused(debit.answer(made, token, 200, debit.platform("P02"))) == (404, "ADJUSTMENT_NOT_FOUND")
    assert refused(debit.call(f"adjustments/{made}/consent-token", {}, debit.platform("P02"))) == (404, "ADJUSTMENT_NOT_FOUND")
    assert refused(debit.answer(made, token, 200, debit.person("fay"))) == (401, "NOT_AUTHENTICATED")
    assert refused(debit.call(f"adjustments/{made}/consent-token", {}, debit.person("fay"))) == (401, "NOT_AUTHENTICATED")
    assert debit.state(made) == "PENDING_CONSENT"


def test_a_consent_that_does_not_come_within_72_hours_expires_as_an_event(debit: Desk) -> None:
    made = debit.created("DEBIT", 200)
    debit.step(made, "consent-request", "fay", text_version="debit-1")
    token = debit.token(made)
    with psycopg.connect(debit.api.service_url) as connection:
        debit.clock("2026-09-04T01:29:59+08:00")
        assert connection.execute("SELECT work.expire_consents(10)").fetchone() == (0,)
    # the service's own clock may record it first: the answer is refused either way
    debit.clock("2026-09-04T01:30:00+08:00")
    assert debit.answer(made, token, 200).json()["code"] in ("CONSENT_EXPIRED", "ADJUSTMENT_STATE")
    with psycopg.connect(debit.api.service_url) as connection:
        connection.execute("SELECT work.expire_consents(10)")
    assert events(debit, made) == ["DRAFT", "PENDING_CONSENT", "EXPIRED"]
    assert refused(debit.step(made, "submission", "fay")) == (409, "ADJUSTMENT_STATE")


def test_only_finance_makes_and_decides(desk: Desk) -> None:
    made = desk.created("CREDIT", 100)
    desk.step(made, "submission", "fay")
    before = everything(desk)
    for role in ("viewer", "officer", "checker", "admin", "auditor"):
        other = desk.person(f"other.{role}", role)
        assert refused(desk.call("adjustments", desk.body("CREDIT", 100), other)) == (403, "NOT_PERMITTED")
        assert refused(desk.call(f"adjustments/{made}/decision", {"approve": True}, other)) == (403, "NOT_PERMITTED")
        assert refused(desk.call(f"adjustments/{made}/posting", {}, other)) == (403, "NOT_PERMITTED")
    assert everything(desk) == before


def test_neither_the_maker_nor_the_investigator_decides(desk: Desk) -> None:
    made = desk.created("CREDIT", 100)
    desk.step(made, "submission", "fay")
    named = desk.call("break-assignments", {"item_id": ITEM, "person": "flo"}, desk.person("ann", "officer"))
    assert refused(named) == (403, "NOT_PERMITTED")  # there is no such person yet
    desk.person("flo")
    assert desk.call("break-assignments", {"item_id": ITEM, "person": "flo"}, desk.person("ann", "officer")).status_code == 201
    before = everything(desk)
    for approve in (True, False):
        assert refused(desk.step(made, "decision", "fay", approve=approve, note="no")) == (409, "OWN_APPROVAL")
        assert refused(desk.step(made, "decision", "flo", approve=approve, note="no")) == (409, "CHECKER_INVESTIGATED")
    assert everything(desk) == before
    assert desk.step(made, "decision", "gil", approve=True).json()["state"] == "APPROVED"


def test_a_rejection_says_why_and_frees_the_break(desk: Desk) -> None:
    made = desk.created("CREDIT", 500)
    desk.step(made, "submission", "fay")
    assert desk.step(made, "decision", "flo", approve=False, note=" ").json()["field"] == "note"
    assert desk.step(made, "decision", "flo", approve=False, note="wrong account").json()["state"] == "REJECTED"
    assert refused(desk.step(made, "posting", "fay")) == (409, "ADJUSTMENT_STATE")
    assert desk.created("CREDIT", 500) > made


def test_a_large_amount_needs_two_different_checkers(api: Any) -> None:
    desk = Desk(api)
    desk.clock(NIGHT)
    desk.publish(1, PUBLISHED, (ITEM, ACCOUNT, 3_000_000))
    made = desk.created("CREDIT", 1_000_001)
    desk.step(made, "submission", "fay")
    assert desk.step(made, "decision", "flo", approve=True).json()["state"] == "PENDING_APPROVAL"
    assert refused(desk.step(made, "posting", "fay")) == (409, "ADJUSTMENT_STATE")
    assert refused(desk.step(made, "decision", "flo", approve=True)) == (409, "CHECKED_BEFORE")
    assert refused(desk.step(made, "decision", "fay", approve=True)) == (409, "OWN_APPROVAL")
    assert desk.step(made, "decision", "gil", approve=True).json()["state"] == "APPROVED"
    small = desk.created("CREDIT", 1_000_000)
    desk.step(small, "submission", "fay")
    assert desk.step(small, "decision", "flo", approve=True).json()["state"] == "APPROVED"


def test_what_does_not_reduce_the_break_is_refused_and_leaves_nothing(desk: Desk) -> None:
    fay = desk.person("fay")
    before = everything(desk)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"amount_minor": 501}, "ADJUSTMENT_EXCEEDS_BREAK"),
        ({"direction": "DEBIT"}, "ADJUSTMENT_WIDENS_BREAK"),
        ({"item_id": "cc" * 16}, "UNKNOWN_BREAK"),
        ({"account_no": "P01-L-000002"}, "UNKNOWN_BREAK"),
        ({"account_no": "P02-L-000001"}, "UNKNOWN_ACCOUNT"),
        ({"account_no": "P01-X-SUSPENSE"}, "UNKNOWN_ACCOUNT"),
        ({"platform_id": "P09"}, "UNKNOWN_ACCOUNT"),
        ({"currency": "USD"}, "CURRENCY_MISMATCH"),
        ({"amount_minor": 0}, "BODY_INVALID"),
        ({"amount_minor": -5}, "BODY_INVALID"),
        ({"amount_minor": 1.5}, "BODY_INVALID"),
        ({"reason_code": "BECAUSE"}, "BODY_INVALID"),
        ({"evidence_uri": "no uri"}, "BODY_INVALID"),
        ({"maker": "flo"}, "BODY_INVALID"),
    ]
    for more, code in cases:
        assert refused(desk.call("adjustments", desk.body("CREDIT", 500) | more, fay)) == (422, code), more
    assert everything(desk) == before


def test_a_timing_item_is_carried_and_not_adjusted(desk: Desk) -> None:
    with psycopg.connect(desk.api.admin_url) as connection:
        connection.execute("UPDATE mart.open_item_effect SET code = 'B14' WHERE item_id = %s", [ITEM])
    answer = desk.call("adjustments", desk.body("CREDIT", 500), desk.person("fay"))
    assert refused(answer) == (422, "BREAK_IS_TIMING")


def test_adjustments_of_one_break_never_take_more_than_it_under_threads(desk: Desk) -> None:
    desk.person("fay")
    with ThreadPoolExecutor(8) as pool:
        codes = [
            a.status_code
            for a in pool.map(lambda _: desk.call("adjustments", desk.body("CREDIT", 120), desk.person("fay")), range(12))
        ]
    assert sorted(codes) == [201] * 4 + [422] * 8
    assert desk.api.rows("SELECT sum(amount_minor)::int FROM work.adjustment") == [(480,)]


def test_posting_under_threads_moves_money_once(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    with ThreadPoolExecutor(6) as pool:
        codes = sorted(a.status_code for a in pool.map(lambda _: desk.step(made, "posting", "fay"), range(6)))
    assert codes == [201] + [409] * 5
    assert desk.balance() == 1_500


def test_a_process_killed_while_it_posts_has_done_nothing_and_the_next_one_posts_once(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    before = everything(desk)
    with psycopg.connect(desk.api.service_url) as dying, psycopg.connect(desk.api.service_url, autocommit=True) as other:
        assert dying.execute("SELECT work.post_adjustment(%s, 'fay')", [made]).fetchone() == ("POSTED",)
        other.execute("SELECT pg_terminate_backend(%s)", [dying.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            dying.commit()
    assert everything(desk) == before
    assert desk.step(made, "posting", "fay").json()["state"] == "POSTED"
    assert refused(desk.step(made, "posting", "fay")) == (409, "ADJUSTMENT_STATE")
    assert desk.balance() == 1_500


def test_what_the_engine_refuses_is_bank_failed_and_may_be_tried_again(debit: Desk) -> None:
    made = debit.approved("DEBIT", 500)
    movement = ("WITHDRAW", ACCOUNT, "P01-X-WITHDRAWAL", 900)
    assert debit.api.post(debit.api.order("WITHDRAW", movement)).status_code == 201
    failed = debit.step(made, "posting", "fay")
    assert (failed.status_code, failed.json()["state"]) == (201, "BANK_FAILED")
    assert failed.json()["state_detail"]["code"] == "INSUFFICIENT_FUNDS"
    assert debit.balance() == 100
    debit.api.recharge(ACCOUNT, 700)
    assert debit.step(made, "posting", "fay").json()["state"] == "POSTED"
    assert debit.balance() == 300
    assert events(debit, made)[-4:] == ["SENT_TO_BANK", "BANK_FAILED", "SENT_TO_BANK", "POSTED"]


def test_an_adjustment_whose_break_has_gone_is_not_posted_but_taken_back(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    desk.publish(2, "2026-09-01")
    assert refused(desk.step(made, "posting", "fay")) == (422, "UNKNOWN_BREAK")
    assert (desk.state(made), desk.balance()) == ("APPROVED", 1_000)
    assert desk.step(made, "withdrawal", "fay", note="the file came").json()["state"] == "REJECTED"


def test_dry_runs_answer_as_the_real_step_and_change_nothing(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    before = everything(desk)
    dry = desk.call(f"adjustments/{made}/posting", {}, desk.person("fay"), dry_run="true")
    assert (dry.status_code, dry.headers["fundwatch-dry-run"], dry.json()["state"]) == (200, "true", "POSTED")
    assert everything(desk) == before


def test_nobody_else_posts_an_adjustment_or_takes_its_number(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    movement = ("ADJUST_INCREASE", "P01-X-SUSPENSE", ACCOUNT, 500)
    before = everything(desk)
    for number in ("REQ-OWN", f"ADJ-{made}", "ADJ-X"):
        answer = desk.api.post(desk.api.order("ADJUST_INCREASE", movement, request_no=number))
        assert answer.status_code == 422, answer.text
    assert everything(desk) == before
    desk.step(made, "posting", "fay")
    swapped = ("ADJUST_INCREASE", ACCOUNT, "P01-X-SUSPENSE", 500)
    back = desk.api.post(desk.api.order("ADJUST_INCREASE", swapped, reverses_request_no=f"ADJ-{made}"))
    assert refused(back) == (422, "MOVEMENT_BY_DESK_ONLY")
    assert desk.balance() == 1_500


def test_the_next_publish_verifies_what_closed_its_break(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    desk.step(made, "posting", "fay")
    settings_ = desk.api.client.app.state.service.settings
    assert verify_published(settings_, 1) == {"verified": 0, "reopened": 0}  # its date lies before the posting
    desk.clock(NEXT_NIGHT)
    desk.publish(2, "2026-09-01", (OTHER_ITEM, ACCOUNT, -300))
    assert verify_published(settings_, 2) == {"verified": 1, "reopened": 0}
    assert verify_published(settings_, 2) == {"verified": 0, "reopened": 0}
    assert desk.state(made) == "VERIFIED"


def test_the_banks_own_movement_nets_the_break_out_where_the_platform_does_not_mirror_it(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    desk.step(made, "posting", "fay")
    own = "d4" * 16
    desk.publish(2, "2026-09-01", (ITEM, ACCOUNT, 500), (own, ACCOUNT, -500), match_keys={own: f"ADJ-{made}#1"})
    assert verify_published(desk.api.client.app.state.service.settings, 2) == {"verified": 1, "reopened": 0}
    assert refused(desk.call("adjustments", desk.body("CREDIT", 1), desk.person("fay"))) == (422, "ADJUSTMENT_WIDENS_BREAK")


def test_a_break_as_wide_as_before_reopens_and_can_be_verified_later(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    desk.step(made, "posting", "fay")
    settings_ = desk.api.client.app.state.service.settings
    desk.publish(2, "2026-09-01", (ITEM, ACCOUNT, 500))
    assert verify_published(settings_, 2) == {"verified": 0, "reopened": 1}
    assert verify_published(settings_, 2) == {"verified": 0, "reopened": 0}
    desk.publish(3, "2026-09-01")
    assert verify_published(settings_, 3) == {"verified": 1, "reopened": 0}
    assert events(desk, made)[-3:] == ["POSTED", "REOPENED", "VERIFIED"]


def test_a_part_waits_until_the_rest_is_adjusted_too(desk: Desk) -> None:
    first = desk.approved("CREDIT", 200)
    desk.step(first, "posting", "fay")
    settings_ = desk.api.client.app.state.service.settings
    desk.publish(2, "2026-09-01", (ITEM, ACCOUNT, 300))
    assert verify_published(settings_, 2) == {"verified": 0, "reopened": 0}
    assert refused(desk.call("adjustments", desk.body("CREDIT", 301), desk.person("fay"))) == (422, "ADJUSTMENT_EXCEEDS_BREAK")
    desk.clock(NEXT_NIGHT)
    second = desk.approved("CREDIT", 300)
    desk.step(second, "posting", "fay")
    desk.publish(3, "2026-09-02")
    assert verify_published(settings_, 3) == {"verified": 2, "reopened": 0}


def test_every_state_stands_in_the_audit_trail_and_in_the_daily_list(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    desk.step(made, "posting", "fay")
    trail = desk.api.rows(
        f"SELECT action, actor FROM audit.change WHERE subject_type = 'adjustment' AND subject = '{made}' ORDER BY change_id"
    )
    assert trail == [
        ("ADJUSTMENT_DRAFT", "fay"),
        ("ADJUSTMENT_PENDING_APPROVAL", "fay"),
        ("ADJUSTMENT_APPROVED", "flo"),
        ("ADJUSTMENT_SENT_TO_BANK", "fay"),
        ("ADJUSTMENT_POSTED", "fay"),
    ]
    with psycopg.connect(desk.api.client.app.state.service.settings.database_url("reader")) as connection:
        day = connection.execute("SELECT DISTINCT business_date::text, count(*) OVER () FROM work.adjustment_daily").fetchall()
    assert day == [("2026-09-01", 5)]


def test_the_list_filters_and_its_pages_lose_nothing(desk: Desk) -> None:
    made = [desk.created("CREDIT", 10) for _ in range(5)]
    desk.step(made[0], "submission", "fay")
    fay, seen, cursor = desk.person("fay"), [], None
    while True:
        parameters = {"limit": 2, "platform_id": "P01", **({"cursor": cursor} if cursor else {})}
        page = desk.api.client.get("/v1/adjustments", headers=fay, params=parameters).json()
        seen += [row["adjustment_id"] for row in page["adjustments"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(made, reverse=True)
    found = desk.api.client.get("/v1/adjustments", headers=fay, params={"state": "PENDING_APPROVAL"}).json()
    assert [row["adjustment_id"] for row in found["adjustments"]] == [made[0]]
    for parameters in ({"cursor": "x"}, {"limit": 0}, {"state": "GONE"}, {"item_id": "x"}, {"maker": "\x00"}):
        assert refused(desk.api.client.get("/v1/adjustments", headers=fay, params=parameters)) == (422, "PARAMETER_INVALID")
    assert refused(desk.api.client.get("/v1/adjustments/999", headers=fay)) == (404, "ADJUSTMENT_NOT_FOUND")
    assert refused(desk.api.client.get("/v1/adjustments", headers=desk.person("vic", "viewer"))) == (403, "NOT_PERMITTED")


def test_a_tampered_adjustment_or_order_is_named_by_the_desks_check(desk: Desk) -> None:
    made = desk.approved("CREDIT", 500)
    desk.step(made, "posting", "fay")
    assert desk.api.rows("SELECT * FROM work.desk_faults()") == []
    with psycopg.connect(desk.api.admin_url) as connection:
        connection.execute("ALTER TABLE work.adjustment DISABLE TRIGGER append_only")
        connection.execute("UPDATE work.adjustment SET amount_minor = 499")
    assert desk.api.rows("SELECT * FROM work.desk_faults()") == [("adjustment and order differ", f"ADJ-{made}")]


def test_rows_are_never_changed_even_by_their_owner(desk: Desk) -> None:
    desk.created("CREDIT", 100)
    statements = (
        "UPDATE work.adjustment SET amount_minor = 1",
        "DELETE FROM work.adjustment_event",
        "TRUNCATE work.consent_answer CASCADE",
        "UPDATE work.consent_token SET issued_to = 'x'",
    )
    with psycopg.connect(desk.api.admin_url) as connection:
        for statement in statements:
            with pytest.raises(errors.Error) as caught, connection.transaction():
                connection.execute(statement.encode())
            assert caught.value.sqlstate == "FW403"


def test_the_tables_themselves_refuse_a_step_out_of_turn(desk: Desk) -> None:
    made = desk.created("CREDIT", 100)
    steps = (
        (2, "POSTED", "fay", "{}"),
        (2, "APPROVED", "flo", '{"checked": true}'),
        (3, "PENDING_APPROVAL", "fay", '{"checkers": 1}'),
        (2, "PENDING_APPROVAL", "fay", "{}"),
        (2, "PENDING_APPROVAL", "fay", '{"checkers": 0}'),
    )
    with psycopg.connect(desk.api.admin_url) as connection:
        for seq, state, actor, detail in steps:
            with pytest.raises(errors.Error, match="ADJUSTMENT_STATE"), connection.transaction():
                connection.execute(
                    """INSERT INTO work.adjustment_event (adjustment_id, seq, state, actor, at, detail)
                       VALUES (%s, %s, %s, %s, now(), %s)""",
                    [made, seq, state, actor, detail],
                )
    assert desk.state(made) == "DRAFT"


def test_a_posted_event_without_its_order_is_refused_by_the_table(desk: Desk) -> None:
    made = desk.approved("CREDIT", 100)
    with psycopg.connect(desk.api.admin_url) as connection, pytest.raises(errors.Error, match="ADJUSTMENT_STATE"):
        connection.execute(
            """INSERT INTO work.adjustment_event (adjustment_id, seq, state, actor, at)
               VALUES (%(id)s, 4, 'SENT_TO_BANK', 'fay', now()), (%(id)s, 5, 'POSTED', 'fay', now())""",
            {"id": made},
        )
    assert (desk.state(made), desk.balance()) == ("APPROVED", 1_000)
