"""The opening book: loans of the past months with their payments, and the balances brought in on the opening date."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from random import Random

from domain.money import largest_remainder
from domain.vocabulary import AccountRole, Component, LoanStatus, MovementType, OrderType
from simulator.bank_day import ZONE, months_after
from simulator.book import Book, Movement, Order
from simulator.loan_terms import draw_loan
from simulator.loans import Habit, Loan, PlanRow
from simulator.parameters import YUAN, WorldParameters
from simulator.people import Community, Customer
from simulator.repayments import PAY_ORDER
from simulator.state import Duty, OpeningPayment, PlatformState

LOANS_PER_BORROWER_IN_TEN_YEARS = 14
SKEW_TO_THE_PAST = 1.5
COMPENSATION_DAYS = 5
LATE_BY_DAYS = (0, 2, 5, 12, 25, 40)
BAD_DEBT_NOTICE_DAYS = 30
MOVEMENTS_PER_OPENING_ORDER = 50


def open_platform(community: Community, parameters: WorldParameters) -> PlatformState:
    """A platform on its opening date: history lived through, balances brought in by OPENING orders."""
    rng = Random(f"{parameters.seed}/life/{community.platform_id}")
    state = PlatformState(parameters.seed, community, rng, Book(community.account_roles()))
    borrowers, investors = (community.with_role(role) for role in (AccountRole.BORROWERS, AccountRole.INVESTOR))
    guarantors = state.guarantor_accounts
    count = max(8, len(borrowers) * LOANS_PER_BORROWER_IN_TEN_YEARS * parameters.history_months // 120)
    earliest = months_after(parameters.opening_date, -parameters.history_months)
    span = (parameters.opening_date - earliest).days
    # more old loans than young ones: their outcomes are there to learn from, and the book to be watched stays small
    days = sorted(int((span - 5) * rng.random() ** SKEW_TO_THE_PAST) for _ in range(count))
    for number, offset in enumerate(days, start=1):
        disbursed_on = earliest + timedelta(days=offset)
        raised_from = disbursed_on - timedelta(days=rng.randrange(1, 9))
        borrower = borrowers[number % len(borrowers)]
        loan = draw_loan(rng, parameters.seed, community.platform_id, number, borrower, guarantors, raised_from)
        _live_through(state, loan, investors, disbursed_on, parameters.opening_date)
        state.loans.append(loan)
    _bring_balances(state, parameters.opening_date)
    state.close_day(parameters.opening_date)
    return state


def _live_through(state: PlatformState, loan: Loan, investors: list[Customer], disbursed_on: date, opening: date) -> None:
    rng = state.rng
    loan.disburse(disbursed_on)
    lenders = rng.sample(investors, rng.randrange(3, 9))
    units = loan.contract_minor // (100 * YUAN)
    shares = largest_remainder(units - len(lenders), [rng.randrange(1, 100) for _ in lenders])
    for lender, share in zip(lenders, shares, strict=True):
        state.new_claim(loan, lender, (share + 1) * 100 * YUAN, disbursed_on)
    early = (LoanStatus.ANNOUNCED, LoanStatus.RAISING, LoanStatus.FULL, LoanStatus.DISBURSED, LoanStatus.REPAYING)
    for status, day in zip(early, (loan.raised_from, loan.raised_from, *[disbursed_on] * 3), strict=True):
        loan.become(status, datetime.combine(day, time(9 + len(loan.statuses), 0), ZONE))
    for day, row, duty in plan_payments(state.rng, loan, opening):
        if day > opening:
            state.agenda[day].append((loan, row, duty))
        else:
            _pay_history(state, loan, row, duty, min(day, opening - timedelta(days=1)))
    _age_history(loan, opening)


def plan_payments(rng: Random, loan: Loan, opening: date) -> list[tuple[date, PlanRow, Duty]]:
    """When each row of a loan will be paid, and by whom, oldest row first; rows that nobody pays are left out."""
    plan: list[tuple[date, PlanRow, Duty]] = []
    paid_on = loan.rows[0].due_on
    open_until = date.min
    stops_at = loan.stops_at or len(loan.rows) + 1
    for row in loan.rows:
        compensated_on = row.due_on + timedelta(days=COMPENSATION_DAYS)
        if row.issue_no < stops_at:
            lag = rng.choice(LATE_BY_DAYS) if loan.habit is Habit.LATE else 0
            # no row is paid before the one in front of it
            paid_on = max(paid_on, row.due_on + timedelta(days=lag))
            # the opening file says what lenders got, not what guarantors got back: only rows due in the daily life come back;
            # and lenders are paid in the order of the rows, so no older one may still be open
            if loan.guarantor_account_no and open_until < compensated_on < paid_on and row.due_on >= opening:
                plan.append((compensated_on, row, Duty.COMPENSATE))
            else:
                open_until = paid_on
            plan.append((paid_on, row, Duty.REPAY))
            continue
        if row.issue_no == stops_at and row.due_on < opening and rng.randrange(2) == 0:
            plan.append((row.due_on, row, Duty.REPAY_PART))
        if loan.guarantor_account_no:
            plan.append((compensated_on, row, Duty.COMPENSATE))
    return plan


def _pay_history(state: PlatformState, loan: Loan, row: PlanRow, duty: Duty, day: date) -> None:
    payer = AccountRole.GUARANTEECORP if duty is Duty.COMPENSATE else AccountRole.BORROWERS
    # a part payment is short of what comes last, so that it never settles the row
    last_due = Component.PRINCIPAL if row.due[Component.PRINCIPAL] else Component.INTEREST
    for component in PAY_ORDER:
        amount = row.unreceived(component)
        if duty is Duty.REPAY_PART and component is last_due:
            amount = amount * 2 // 5
        _pay(state, loan, row, component, amount, payer, day)


def _pay(
    state: PlatformState, loan: Loan, row: PlanRow, component: Component, amount: int, payer: AccountRole, day: date
) -> None:
    if amount == 0:
        return
    number = f"{state.platform_id}-OP-{len(state.opening_payments) + 1:07d}"
    state.opening_payments.append(OpeningPayment(number, loan.loan_no, row.issue_no, component, payer, amount, day))
    loan.receive(row, component, amount, day)
    if payer is AccountRole.BORROWERS:
        row.paid[component] += amount


def _age_history(loan: Loan, opening: date) -> None:
    status = loan.status_on(opening)
    closed_on = [claim.closed_on for claim in loan.claims if claim.closed_on and status is LoanStatus.REPAID]
    at = datetime.combine(max(closed_on, default=opening - timedelta(days=1)), time(20, 0), ZONE)
    if status is LoanStatus.BAD_DEBT:
        loan.become(LoanStatus.OVERDUE, at - timedelta(days=BAD_DEBT_NOTICE_DAYS))
    if status is not LoanStatus.REPAYING:
        loan.become(status, at)


def _bring_balances(state: PlatformState, opening: date) -> None:
    """OPENING orders, a few accounts each, in the morning of the opening date."""
    amounts = {account: _opening_balance(state.rng, state.book.roles[account]) for account in state.book.sub_accounts()}
    wanted = [(account, amount) for account, amount in amounts.items() if amount > 0]
    special = state.community.control_account(AccountRole.SPECIAL_ACCOUNT)
    at = datetime.combine(opening, time(8, 0), ZONE)
    for number, start in enumerate(range(0, len(wanted), MOVEMENTS_PER_OPENING_ORDER), start=1):
        part = wanted[start : start + MOVEMENTS_PER_OPENING_ORDER]
        order = Order(
            platform_id=state.platform_id,
            request_no=f"{state.platform_id}-{opening:%Y%m%d}-{number:05d}",
            order_type=OrderType.OPENING,
            at=at + timedelta(minutes=number),
            account_no=None,
            counter_account_no=None,
            amount_minor=sum(amount for _, amount in part),
            movements=tuple(Movement(MovementType.OPENING_BALANCE, special, account, amount) for account, amount in part),
        )
        state.book.post(order)


def _opening_balance(rng: Random, role: AccountRole) -> int:
    fixed = {
        AccountRole.GUARANTEECORP: 300_000 * YUAN,
        AccountRole.PLATFORM_INCOME: 40_000 * YUAN,
        AccountRole.PLATFORM_MARKETING: 6_000 * YUAN,
        AccountRole.PLATFORM_COMPENSATORY: 100_000 * YUAN,
    }
    if role in fixed:
        return fixed[role] + rng.randrange(10_000)
    if rng.randrange(10) == 0:
        return 0
    return rng.randrange(1, (12_000 if role is AccountRole.INVESTOR else 900) * YUAN)
