"""Loans: registration, terms, status history, disbursement proved by the ledger, and what is read of them."""

from __future__ import annotations

from typing import Any

from transactional.keys import add_key

LENDER, OTHER, BORROWING = "P01-L-000001", "P01-L-000002", "P01-B-000003"


def test_a_loan_shows_contract_disbursed_and_outstanding_with_its_history(market: Any) -> None:
    loan = market.lend()
    assert {name: loan[name] for name in ("contract_minor", "annual_rate", "disbursed_minor", "disbursed_on", "status")} == {
        "contract_minor": 200_000,
        "annual_rate": "0.12",
        "disbursed_minor": 100_001,
        "disbursed_on": "2026-01-15",
        "status": "9",
    }
    assert loan["outstanding_principal_minor"] == 100_001
    assert loan["outstanding_interest_minor"] == 1_000 + 667 + 333
    assert [row["status"] for row in loan["status_history"]] == ["0", "6", "1", "9"]
    assert market.faults() == []


def test_a_number_is_given_once(market: Any) -> None:
    market.register("L-1")
    market.refused("loans", _loan(), "NUMBER_TAKEN", "loan_no")


def _loan(**more: Any) -> dict[str, Any]:
    return {
        "loan_no": "L-1",
        "customer_no": "P01-C000003",
        "currency": "CNY",
        "contract_minor": 1000,
        "annual_rate": "0.12",
        "term_months": 3,
        "plan_type": "BULLET",
        "purpose_code": "1",
        "security_type": "NONE",
        "raise_start": "2026-01-05",
        "raise_end": "2026-01-20",
        **more,
    }


IMPOSSIBLE: tuple[tuple[dict[str, Any], str, str | None], ...] = (
    ({"annual_rate": 0.12}, "BODY_INVALID", "annual_rate"),
    ({"annual_rate": "-0.1"}, "BODY_INVALID", "annual_rate"),
    ({"annual_rate": "1e-2"}, "BODY_INVALID", "annual_rate"),
    ({"contract_minor": 0}, "BODY_INVALID", "contract_minor"),
    ({"contract_minor": 10.5}, "BODY_INVALID", "contract_minor"),
    ({"loan_no": "L 1"}, "BODY_INVALID", "loan_no"),
    ({"loan_no": "Ｌ-1"}, "BODY_INVALID", "loan_no"),
    ({"raise_end": "2026-01-04"}, "BODY_INVALID", "raise_end"),
    ({"customer_no": "P01-C000009"}, "UNKNOWN_CUSTOMER", "customer_no"),
    ({"customer_no": "P02-C000001"}, "UNKNOWN_CUSTOMER", "customer_no"),
    ({"currency": "USD"}, "UNKNOWN_CUSTOMER", "customer_no"),
    ({"project_no": "NONE"}, "UNKNOWN_REFERENCE", "project_no"),
    ({"announced_on": "2027-01-01"}, "DATE_IN_FUTURE", "valid_from"),
    ({"platform_id": "P09"}, "UNKNOWN_CUSTOMER", None),
)


def test_a_loan_that_cannot_be_is_refused_and_nothing_is_kept(market: Any) -> None:
    for change, code, field in IMPOSSIBLE:
        market.refused("loans", _loan(**change), code, field)


def test_terms_change_until_the_raise_is_full(market: Any) -> None:
    market.register("L-1")
    terms = {name: value for name, value in _loan().items() if name not in ("loan_no", "customer_no", "currency")}
    changed = market.done("loans/L-1/terms", terms)
    assert (changed["terms_version"], changed["contract_minor"], changed["plan_type"]) == (2, 1000, "BULLET")
    market.status("L-1", "6", "2026-01-05")
    market.status("L-1", "1", "2026-01-14")
    market.refused("loans/L-1/terms", terms, "STATE_CONFLICT", "status")


def test_a_status_that_does_not_follow_is_refused(market: Any) -> None:
    cases = [([], "9"), ([], "3"), (["6"], "9"), (["6", "1"], "5"), (["6", "2"], "6"), (["6", "1"], "10")]
    for number, (path, wanted) in enumerate(cases):
        market.register(f"L-{number}")
        for status in path:
            market.status(f"L-{number}", status, "2026-01-15")
        body = {"status": wanted, "valid_from": "2026-01-15", "reason": "x", "disbursed_minor": 1}
        market.refused(f"loans/L-{number}/status", body, "STATUS_NOT_ALLOWED", "status")


def test_a_status_does_not_begin_before_the_one_it_follows(market: Any) -> None:
    market.register("L-1")
    market.refused("loans/L-1/status", {"status": "6", "valid_from": "2026-01-04", "reason": "x"}, "BODY_INVALID", "valid_from")


def _full(market: Any) -> None:
    market.register("L-1")
    market.status("L-1", "6", "2026-01-05")
    market.status("L-1", "1", "2026-01-14")


def test_a_loan_is_disbursed_only_by_what_the_ledger_tendered(market: Any) -> None:
    _full(market)
    body = {"status": "9", "valid_from": "2026-01-15", "reason": "x"}
    market.refused("loans/L-1/status", {**body, "disbursed_minor": 1}, "AMOUNT_DIFFERS", "disbursed_minor")
    market.tender("L-1", {LENDER: 60_000, OTHER: 40_001})
    market.refused("loans/L-1/status", body, "BODY_INVALID", "disbursed_minor")
    for said in (100_000, 100_002):
        market.refused("loans/L-1/status", {**body, "disbursed_minor": said}, "AMOUNT_DIFFERS", "disbursed_minor")
    assert market.status("L-1", "9", "2026-01-15", disbursed_minor=100_001)["status"] == "9"


def test_more_than_the_contract_is_not_disbursed(market: Any) -> None:
    _full(market)
    market.tender("L-1", {LENDER: 200_001})
    body = {"status": "9", "valid_from": "2026-01-15", "reason": "x", "disbursed_minor": 200_001}
    market.refused("loans/L-1/status", body, "AMOUNT_EXCEEDS", "disbursed_minor")


def test_money_into_another_borrowers_account_disburses_nothing(market: Any) -> None:
    _full(market)
    market.api.recharge(LENDER, 500)
    tender = {"movement_type": "TENDER", "debit_account": LENDER, "credit_account": "P01-B-000002", "amount_minor": 500}
    market.pay("DISBURSE", tender | {"loan_no": "L-1"})
    body = {"status": "9", "valid_from": "2026-01-15", "reason": "x", "disbursed_minor": 500}
    market.refused("loans/L-1/status", body, "ORDER_DIFFERS", "credit_account")


def test_a_reversed_tender_does_not_count_and_makes_no_claim(market: Any) -> None:
    _full(market)
    api = market.api
    api.recharge(LENDER, 700)
    wrong = {
        "movement_type": "TENDER",
        "debit_account": LENDER,
        "credit_account": BORROWING,
        "amount_minor": 700,
        "loan_no": "L-1",
    }
    first = market.pay("DISBURSE", wrong)
    market.pay("DISBURSE", wrong | {"debit_account": BORROWING, "credit_account": LENDER}, reverses_request_no=first)
    market.pay("DISBURSE", wrong | {"amount_minor": 300})
    assert market.status("L-1", "9", "2026-01-15", disbursed_minor=300)["outstanding_principal_minor"] == 300
    claims = market.read("claims", loan_no="L-1")["items"]
    assert [(row["principal_minor"], row["claim_no"]) for row in claims] == [(300, "L-1-C1")]
    assert market.faults() == []


def test_a_failed_raise_has_moved_no_money(market: Any) -> None:
    _full(market)
    market.tender("L-1", {LENDER: 10})
    market.refused("loans/L-1/status", {"status": "2", "valid_from": "2026-01-15", "reason": "x"}, "STATUS_NOT_ALLOWED")


def test_a_loan_is_repaid_when_no_principal_is_left_and_overdue_when_something_is_late(market: Any) -> None:
    market.lend()
    market.status("L-1", "5", "2026-01-15")
    repaid = {"status": "3", "valid_from": "2026-01-15", "reason": "x"}
    market.refused("loans/L-1/status", repaid, "AMOUNT_DIFFERS", "status")
    market.refused("loans/L-1/status", {**repaid, "status": "4"}, "LOAN_NOT_OVERDUE", "valid_from")
    market.at("2026-02-20")
    loan = market.read("loans/L-1")
    assert (loan["lender_days_past_due"], loan["borrower_days_past_due"]) == (5, 5)
    market.status("L-1", "4", "2026-02-20")
    market.repay("L-1", 100_001 + 2_000)
    loan = market.read("loans/L-1")
    assert (loan["outstanding_principal_minor"], loan["outstanding_interest_minor"]) == (0, 0)
    assert (loan["borrower_principal_minor"], loan["borrower_interest_minor"]) == (100_001, 2_000)
    assert loan["lender_days_past_due"] == loan["borrower_days_past_due"] == 0
    assert market.status("L-1", "3", "2026-02-20")["status"] == "3"
    assert market.faults() == []


def test_lists_are_read_to_the_end_page_by_page_and_a_cursor_belongs_to_its_filters(market: Any) -> None:
    for number in range(5):
        market.register(f"L-{number}")
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = market.read("loans", limit=2, status="0", **cursor)
        seen += [row["loan_no"] for row in answer["items"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert seen == [f"L-{number}" for number in range(5)]
    for wrong in ({"status": "6", **cursor}, {"cursor": "rubbish"}, {"cursor": "W10="}, {"customer_no": "a b"}, {"limit": 0}):
        assert market.get("loans", **wrong).json()["code"] == "PARAMETER_INVALID"
    assert market.read("loans", disbursed_on="2026-01-15")["items"] == []


def test_a_platform_sees_its_own_loans_only_and_writes_for_itself_only(market: Any) -> None:
    market.register("L-1")
    api = market.api
    mine, others = ({"Authorization": f"Bearer {add_key(api.admin_url, name)}"} for name in ("P01", "P02"))
    assert api.client.get("/v1/loans/L-1", headers=mine).json()["loan_no"] == "L-1"
    assert api.client.get("/v1/loans", headers=others).json()["items"] == []
    for answer in (
        api.client.get("/v1/loans/L-1", headers=others),
        api.client.get("/v1/loans/L-1?platform_id=P01", headers=others),
        api.client.post("/v1/loans", json=_loan(platform_id="P01"), headers={**others, "Idempotency-Key": "k"}),
        api.client.get("/v1/loans/%00?platform_id=P01"),
        api.client.get("/v1/loans/L-9?platform_id=P01"),
    ):
        assert answer.status_code == 404, answer.text
    assert api.client.get("/v1/loans/L-1").json()["field"] == "platform_id"


def test_people_of_the_bank_read_loans_when_their_role_sees_rows(market: Any) -> None:
    market.register("L-1")
    officer, viewer = market.api.staff("ann", "officer"), market.api.staff("vic", "viewer")
    path = "/v1/loans/L-1?platform_id=P01"
    assert market.api.client.get(path, headers=officer).status_code == 200
    assert market.api.client.get(path, headers=viewer).json()["code"] == "NOT_PERMITTED"
    write = market.api.client.post("/v1/loans", json=_loan(platform_id="P01"), headers={**officer, "Idempotency-Key": "k"})
    assert write.status_code == 401


def test_a_write_is_rehearsed_and_repeated(market: Any) -> None:
    before = market.content()
    rehearsed = market.send("loans?dry_run=true", _loan())
    assert (rehearsed.status_code, rehearsed.json()["status"]) == (200, "0")
    assert market.content() == before
    first, again = (market.send("loans", _loan(), key="once") for _ in range(2))
    assert (first.json(), again.headers["Idempotency-Replayed"]) == (again.json(), "true")


def test_every_change_is_in_the_audit_chain_and_in_the_outbox(market: Any) -> None:
    market.lend()
    audited = market.api.rows(
        """SELECT action, before ->> 'status', after ->> 'status', actor FROM audit.change
           WHERE subject_type = 'loans.status' AND subject = 'P01 L-1' ORDER BY change_id"""
    )
    assert audited == [
        ("LOAN_STATUS_CHANGED", before, after, "key:*") for before, after in ((None, "0"), ("0", "6"), ("6", "1"), ("1", "9"))
    ]
    topics = {row[0] for row in market.api.rows("SELECT topic FROM outbox.readable WHERE subject = 'P01 L-1'")}
    assert topics >= {"loan.registered", "loan.status_changed", "loan.disbursed", "loan.plan_changed", "claim.opened"}
