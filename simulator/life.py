"""Daily life on one platform: recharges, bids, disbursements, repayments, withdrawals, transfers, in the order of time.

A business date is lived event by event; each event sees the books as they are at its moment, so an order is only made when its
money is there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from random import Random

from domain.vocabulary import AccountRole, LoanStatus, MovementType, OrderType
from simulator.bank_day import closes_at, is_working_day, next_working_day, opens_at
from simulator.book import Hold, Movement, Order
from simulator.channel_fee import channel_fee
from simulator.loan_terms import draw_loan
from simulator.loans import Loan, PlanRow
from simulator.opening import plan_payments
from simulator.parameters import YUAN
from simulator.people import Customer
from simulator.repayments import compensation_order, plan_need, repayment_orders
from simulator.state import Duty, PlatformState, Withdrawal

Action = Callable[[datetime], None]
FULL_SIZE = 700
"""Customers of a platform for which the day's counts below are meant."""
RECHARGES, BIDS, WITHDRAWALS, TRANSFERS, GIFTS = 46, 40, 12, 4, 4
FEWEST = 2
FEWEST_RECHARGES = 8
COMMISSION_PERCENT = 2
TRANSFER_FEE_PER_MILLE = 5
LAST_EVENT = timedelta(hours=23, minutes=20)
"""Events are planned until 22:20, so that what follows from them stays before the cut-off."""
MINUTE = timedelta(minutes=1)
OPEN_LOANS = 6
MOST_LOANS_AT_ONCE = 2
TWINS_ONE_IN, REFUSED_ONE_IN = 12, 5
"""How many recharges are made twice within a minute, how many withdrawals the customer's bank refuses."""


@dataclass
class Life:
    """The running day of one platform: a queue of events over its state."""

    state: PlatformState
    day: date
    queue: list[tuple[datetime, int, Action]] = field(default_factory=list)
    planned: int = 0
    numbers: int = 0
    raising: list[Loan] = field(default_factory=list)
    bids: dict[str, list[tuple[Customer, Hold]]] = field(default_factory=lambda: defaultdict(list))
    recharged: dict[date, list[int]] = field(default_factory=lambda: defaultdict(list))
    withdrawn: dict[date, int] = field(default_factory=lambda: defaultdict(int))
    unpaid: dict[date, list[Withdrawal]] = field(default_factory=lambda: defaultdict(list))
    to_return: dict[date, list[Withdrawal]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        # streams of their own: what else happens in a world does not hang on them
        self.mishaps = Random(f"{self.state.seed}/mishaps/{self.state.platform_id}")

    def live(self, day: date) -> None:
        """Live one business date and keep its closing balances."""
        self.day, self.numbers = day, 0
        self._list_loans()
        self._plan_day()
        while self.queue:
            at, _, action = heappop(self.queue)
            orders = self.state.book.orders
            action(max(at, orders[-1].at + timedelta(seconds=1)))
        self._review_statuses()
        self.state.close_day(day)

    def _plan_day(self) -> None:
        rng, state = self.state.rng, self.state
        scale = len(state.community.customers)
        # the first two hours after the cut-off still belong to the calendar day before: timing items need life in them
        for index in range(self._count(RECHARGES, scale)):
            minutes = rng.randrange(1, 58) if index < 4 else self._minute()
            self._plan(minutes, self._recharge_investor)
        for minimum, action in (
            (BIDS, self._bid),
            (WITHDRAWALS, self._withdraw_investor),
            (TRANSFERS, self._transfer),
            (GIFTS, self._give),
        ):
            for _ in range(self._count(minimum, scale)):
                self._plan(self._minute(), action)
        for loan, row, duty in state.agenda.pop(self.day, []):
            compensates = duty is Duty.COMPENSATE
            self._plan(
                rng.randrange(600, 1200), partial(self._compensate, loan, row) if compensates else partial(self._repay, loan)
            )
        if is_working_day(self.day):
            self._plan(rng.randrange(630, 660), self._settle)
            self._plan(rng.randrange(660, 690), self._pay_out)
            for withdrawal in self.to_return.pop(self.day, []):
                self._plan(self.mishaps.randrange(700, 1200), partial(self._give_back, withdrawal))
        if self.day.weekday() == 4:
            self._plan(rng.randrange(900, 1000), self._sweep_profit)

    def _count(self, for_full_size: int, customers: int) -> int:
        fewest = FEWEST_RECHARGES if for_full_size == RECHARGES else FEWEST
        mean = max(fewest, for_full_size * customers // FULL_SIZE)
        return mean + self.state.rng.randrange(-(mean // 5), mean // 5 + 1)

    def _minute(self) -> int:
        """Minutes after the date's opening: one in ten at night, the others between 07:00 and 22:20."""
        rng = self.state.rng
        return rng.randrange(5, 118) if rng.randrange(10) == 0 else rng.randrange(480, int(LAST_EVENT / MINUTE))

    def _plan(self, minutes: int, action: Action) -> None:
        self._at(opens_at(self.day) + minutes * MINUTE + timedelta(seconds=self.state.rng.randrange(60)), action)

    def _at(self, moment: datetime, action: Action) -> None:
        self.planned += 1
        latest = closes_at(self.day) - 10 * MINUTE
        heappush(self.queue, (min(moment, latest), self.planned, action))

    def _later(self, at: datetime, low: int, high: int, action: Action) -> None:
        self._at(at + timedelta(seconds=self.state.rng.randrange(low * 60, high * 60)), action)

    def _request_no(self) -> str:
        self.numbers += 1
        return f"{self.state.platform_id}-{self.day:%Y%m%d}-{self.numbers:05d}"

    def _order(
        self,
        order_type: OrderType,
        at: datetime,
        account: str | None,
        counter: str | None,
        movements: list[Movement],
        amount_minor: int | None = None,
        holds: tuple[Hold, ...] = (),
        releases: tuple[str, ...] = (),
        loan_no: str | None = None,
        request_no: str | None = None,
    ) -> None:
        total = sum(movement.amount_minor for movement in movements) if amount_minor is None else amount_minor
        self.state.book.post(
            Order(
                self.state.platform_id,
                request_no or self._request_no(),
                order_type,
                at,
                account,
                counter,
                total,
                tuple(movements),
                holds,
                releases,
                loan_no,
            )
        )

    # -- money in and out ---------------------------------------------------------------------------------------------

    def _control(self, role: AccountRole) -> str:
        return self.state.community.control_account(role)

    def _recharge(self, account: str, amount_minor: int, at: datetime) -> None:
        channel = self._control(AccountRole.CHANNEL_RECEIVABLE)
        self.recharged[self.day].append(amount_minor)
        self._order(OrderType.RECHARGE, at, account, None, [Movement(MovementType.RECHARGE, channel, account, amount_minor)])

    def _recharge_investor(self, at: datetime) -> None:
        rng = self.state.rng
        investor = rng.choice(self.state.community.with_role(AccountRole.INVESTOR))
        cents = rng.randrange(100) if rng.randrange(4) == 0 else 0
        account, amount = investor.accounts[AccountRole.INVESTOR], rng.randrange(1, 31) * 100 * YUAN + cents
        self._recharge(account, amount, at)
        if self.mishaps.randrange(TWINS_ONE_IN) == 0:
            # the same again within the minute, on purpose: sound, and alike in all but the number
            self._at(at + timedelta(seconds=self.mishaps.randrange(5, 50)), partial(self._recharge, account, amount))

    def _withdraw(self, account: str, amount_minor: int, at: datetime) -> None:
        payable, request_no = self._control(AccountRole.WITHDRAWAL_PAYABLE), self._request_no()
        if self.mishaps.randrange(REFUSED_ONE_IN) == 0:
            self.unpaid[self.day].append(Withdrawal(request_no, account, amount_minor))
        else:
            self.withdrawn[self.day] += amount_minor
        moved = [Movement(MovementType.WITHDRAW, account, payable, amount_minor)]
        self._order(OrderType.WITHDRAW, at, account, None, moved, request_no=request_no)

    def _withdraw_investor(self, at: datetime) -> None:
        investor = self._rich_investor(200 * YUAN)
        if investor:
            account = investor.accounts[AccountRole.INVESTOR]
            available = self.state.book.available(account)
            self._withdraw(account, available * self.state.rng.randrange(10, 60) // 100, at)

    def _settle(self, at: datetime) -> None:
        """The payment company hands over earlier dates' recharges less its fee, which the platform bears, one batch a date."""
        special, channel = self._control(AccountRole.SPECIAL_ACCOUNT), self._control(AccountRole.CHANNEL_RECEIVABLE)
        income = self.state.community.own_account(AccountRole.PLATFORM_INCOME)
        due = [day for day in self.recharged if next_working_day(day) <= self.day]
        for index, day in enumerate(due):
            amounts = self.recharged.pop(day)
            gross, fee = sum(amounts), channel_fee(sum(amounts), len(amounts))
            self._order(
                OrderType.SETTLEMENT,
                at + timedelta(seconds=index),
                None,
                None,
                [
                    Movement(MovementType.SETTLEMENT, special, channel, gross - fee),
                    Movement(MovementType.CHANNEL_FEE, income, channel, fee),
                ],
                request_no=f"{self.state.platform_id}-SETTLE-{day:%Y%m%d}",
            )

    def _pay_out(self, at: datetime) -> None:
        """The bank sends earlier dates' withdrawals to the customers' cards, one payout a date; refused ones go back."""
        special, payable = self._control(AccountRole.SPECIAL_ACCOUNT), self._control(AccountRole.WITHDRAWAL_PAYABLE)
        due = [day for day in self.withdrawn if next_working_day(day) <= self.day]
        for index, day in enumerate(due):
            amount = self.withdrawn.pop(day)
            self._order(
                OrderType.WITHDRAW_PAYOUT,
                at + timedelta(seconds=index),
                None,
                None,
                [Movement(MovementType.WITHDRAW_PAYOUT, payable, special, amount)],
                request_no=f"{self.state.platform_id}-PAYOUT-{day:%Y%m%d}",
            )
        for day in [day for day in self.unpaid if next_working_day(day) <= self.day]:
            for withdrawal in self.unpaid.pop(day):
                self.state.refused.append((at, withdrawal))
                if self.mishaps.randrange(2):
                    self._later(at, 5, 60, partial(self._give_back, withdrawal))
                else:
                    self.to_return[next_working_day(self.day)].append(withdrawal)

    def _give_back(self, withdrawal: Withdrawal, at: datetime) -> None:
        """A refused withdrawal is the customer's again, by the close of the next working day."""
        payable = self._control(AccountRole.WITHDRAWAL_PAYABLE)
        moved = [Movement(MovementType.BACKROLL, payable, withdrawal.account_no, withdrawal.amount_minor)]
        self._order(OrderType.BACKROLL, at, withdrawal.account_no, None, moved, request_no=f"{withdrawal.request_no}#B")

    # -- lending ------------------------------------------------------------------------------------------------------

    def _list_loans(self) -> None:
        rng, state = self.state.rng, self.state
        active = [loan for loan in state.loans if loan.status is not LoanStatus.REPAID]
        count = Counter(loan.account_no for loan in active)
        troubled = {loan.account_no for loan in active if loan.status is not LoanStatus.REPAYING}
        free = [
            customer
            for customer in state.community.with_role(AccountRole.BORROWERS)
            if count[customer.accounts[AccountRole.BORROWERS]] < MOST_LOANS_AT_ONCE
            and customer.accounts[AccountRole.BORROWERS] not in troubled
        ]
        wanted = max(1, OPEN_LOANS * len(state.community.customers) // FULL_SIZE)
        while len(self.raising) < wanted and free:
            borrower = free.pop(rng.randrange(len(free)))
            loan = draw_loan(
                rng, state.seed, state.platform_id, len(state.loans) + 1, borrower, state.guarantor_accounts, self.day
            )
            for minutes, status in ((1, LoanStatus.ANNOUNCED), (2, LoanStatus.RAISING)):
                loan.become(status, opens_at(self.day) + minutes * MINUTE)
            state.loans.append(loan)
            self.raising.append(loan)

    def _rich_investor(self, minimum_minor: int, other_than: str = "") -> Customer | None:
        """An investor with at least so much available; a few tries, then none."""
        investors = self.state.community.with_role(AccountRole.INVESTOR)
        for _ in range(12):
            investor = self.state.rng.choice(investors)
            account = investor.accounts[AccountRole.INVESTOR]
            if account != other_than and self.state.book.available(account) >= minimum_minor:
                return investor
        return None

    def _bid(self, at: datetime) -> None:
        investor = self._rich_investor(100 * YUAN)
        if investor is None or not self.raising:
            return
        rng, loan = self.state.rng, self.raising[0]
        account = investor.accounts[AccountRole.INVESTOR]
        if investor.party == loan.borrower.party:
            return
        missing = loan.contract_minor - sum(hold.amount_minor for _, hold in self.bids[loan.loan_no])
        affordable = self.state.book.available(account) // (100 * YUAN) * 100 * YUAN
        amount = min(rng.randrange(3, 19) * 100 * YUAN, affordable, missing)
        request_no = self._request_no()
        hold = Hold(f"H-{request_no}", account, amount)
        self.bids[loan.loan_no].append((investor, hold))
        self._order(
            OrderType.TENDER, at, account, loan.account_no, [], amount, (hold,), loan_no=loan.loan_no, request_no=request_no
        )
        if amount == missing:
            self.raising.remove(loan)
            loan.become(LoanStatus.FULL, at)
            self._later(at, 5, 40, partial(self._disburse, loan))

    def _disburse(self, loan: Loan, at: datetime) -> None:
        bids = self.bids.pop(loan.loan_no)
        loan.disburse(self.day)
        income = self.state.community.own_account(AccountRole.PLATFORM_INCOME)
        movements = []
        for investor, hold in bids:
            claim = self.state.new_claim(loan, investor, hold.amount_minor, self.day)
            movements.append(
                Movement(
                    MovementType.TENDER,
                    hold.account_no,
                    loan.account_no,
                    hold.amount_minor,
                    loan_no=loan.loan_no,
                    claim_no=claim.claim_no,
                )
            )
        commission = loan.contract_minor * COMMISSION_PERCENT // 100
        movements.append(Movement(MovementType.COMMISSION, loan.account_no, income, commission, loan_no=loan.loan_no))
        releases = tuple(hold.hold_no for _, hold in bids)
        self._order(
            OrderType.DISBURSE,
            at,
            loan.account_no,
            None,
            movements,
            loan.contract_minor,
            releases=releases,
            loan_no=loan.loan_no,
        )
        loan.become(LoanStatus.DISBURSED, at)
        loan.become(LoanStatus.REPAYING, at + timedelta(seconds=1))
        for day, row, duty in plan_payments(self.state.rng, loan, self.day):
            self.state.agenda[day].append((loan, row, duty))
        proceeds = loan.contract_minor - commission
        self._later(at, 3, 30, partial(self._take_proceeds, loan.account_no, proceeds))

    def _take_proceeds(self, account: str, proceeds_minor: int, at: datetime) -> None:
        self._withdraw(account, min(proceeds_minor, self.state.book.available(account)), at)

    def _transfer(self, at: datetime) -> None:
        """A lender sells one claim at par; the buyer pays the principal, the seller a fee."""
        rng = self.state.rng
        loans = [loan for loan in self.state.loans if loan.status is LoanStatus.REPAYING and loan.open_claims]
        if not loans:
            return
        loan = rng.choice(loans)
        sold = rng.choice(loan.open_claims)
        buyer = self._rich_investor(sold.principal_minor, other_than=sold.account_no)
        if buyer is None or sold.opened_on == self.day or buyer.party == loan.borrower.party:
            return
        claim = self.state.new_claim(loan, buyer, sold.principal_minor, self.day, parent=sold)
        sold.closed_on = self.day
        income = self.state.community.own_account(AccountRole.PLATFORM_INCOME)
        principal, fee = sold.principal_minor, sold.principal_minor * TRANSFER_FEE_PER_MILLE // 1000
        kind, no = MovementType.CREDIT_ASSIGNMENT, loan.loan_no
        movements = [Movement(kind, claim.account_no, sold.account_no, principal, loan_no=no, claim_no=claim.claim_no)]
        if fee:
            movements.append(Movement(MovementType.COMMISSION, sold.account_no, income, fee, loan_no=no))
        order_type = OrderType.CREDIT_ASSIGNMENT
        self._order(order_type, at, claim.account_no, sold.account_no, movements, principal, loan_no=no)

    # -- repayments ---------------------------------------------------------------------------------------------------

    def _repay(self, loan: Loan, at: datetime) -> None:
        """The borrower pays the oldest row that is due and unpaid; when money is missing he recharges first."""
        row = next((row for row in loan.rows if row.due_on <= self.day and plan_need(row) > 0), None)
        if row is None:
            return
        missing = plan_need(row) - self.state.book.available(loan.account_no)
        if missing > 0:
            self._recharge(loan.account_no, -(-missing // YUAN) * YUAN, at)
            self._later(at, 2, 20, partial(self._repay, loan))
            return
        for draft in repayment_orders(loan, row, self.day):
            self._order(draft.order_type, at, draft.payer, draft.receiver, list(draft.movements), loan_no=loan.loan_no)
            at += timedelta(seconds=1)

    def _compensate(self, loan: Loan, row: PlanRow, at: datetime) -> None:
        """The guarantor pays the lenders of a row that the borrower did not pay."""
        guarantor = str(loan.guarantor_account_no)
        draft = compensation_order(loan, row, self.state.book.available(guarantor), self.day)
        if draft:
            self._order(draft.order_type, at, draft.payer, None, list(draft.movements), loan_no=loan.loan_no)

    # -- the platform's own money -------------------------------------------------------------------------------------

    def _give(self, at: datetime) -> None:
        """A coupon for an investor; the platform tops its marketing account up first when it runs low."""
        community, rng = self.state.community, self.state.rng
        marketing = community.own_account(AccountRole.PLATFORM_MARKETING)
        if self.state.book.available(marketing) < 5_700 * YUAN:
            special, own = self._control(AccountRole.SPECIAL_ACCOUNT), self._control(AccountRole.OWN_FUNDS)
            amount = 1_000 * YUAN
            legs = [
                Movement(MovementType.OWN_FUNDS_IN, special, own, amount),
                Movement(MovementType.TOP_UP, own, marketing, amount),
            ]
            self._order(OrderType.TOP_UP, at, marketing, None, legs, amount)
            at += timedelta(seconds=1)
        account = rng.choice(community.with_role(AccountRole.INVESTOR)).accounts[AccountRole.INVESTOR]
        gift = Movement(MovementType.MARKETING, marketing, account, rng.randrange(500, 5_000))
        self._order(OrderType.MARKETING, at, marketing, account, [gift])

    def _sweep_profit(self, at: datetime) -> None:
        """The platform takes four fifths of its income to its own account."""
        income = self.state.community.own_account(AccountRole.PLATFORM_INCOME)
        special, own = self._control(AccountRole.SPECIAL_ACCOUNT), self._control(AccountRole.OWN_FUNDS)
        amount = self.state.book.available(income) * 4 // 5
        legs = [
            Movement(MovementType.PROFIT, income, own, amount),
            Movement(MovementType.OWN_FUNDS_OUT, own, special, amount),
        ]
        self._order(OrderType.PROFIT, at, income, None, legs, amount)

    def _review_statuses(self) -> None:
        at = closes_at(self.day) - MINUTE
        for loan in self.state.loans:
            if loan.disbursed_on and loan.status is not LoanStatus.REPAID:
                status = loan.status_on(self.day)
                if loan.status is LoanStatus.BAD_DEBT and status is not LoanStatus.REPAID:
                    continue
                if status is LoanStatus.BAD_DEBT and loan.status is LoanStatus.REPAYING:
                    loan.become(LoanStatus.OVERDUE, at - MINUTE)
                if status is not loan.status:
                    loan.become(status, at)
