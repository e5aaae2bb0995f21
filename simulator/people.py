"""Who lives in the world: parties, customers of platforms, their sub-accounts, and the registry the service is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from random import Random
from typing import Any

from domain.vocabulary import AccountRole
from simulator.bank_day import months_after
from simulator.parameters import CURRENCY, FEE_TERMS, PACK, PAYMENT_COMPANY, WorldParameters

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗"
PLATFORM_NAMES = ("Harbour Lending", "Lantern Loans", "Millstone Credit", "Orchard Finance", "Bamboo Bridge")
ROLE_LETTER = {AccountRole.INVESTOR: "L", AccountRole.BORROWERS: "B"}
SECOND_PLATFORM_ONE_IN = 8


@dataclass(frozen=True)
class Party:
    """A person or firm, one per identity."""

    party_ref: str
    party_type: str
    id_hash: str
    name_masked: str
    phone_masked: str


@dataclass(frozen=True)
class Customer:
    """A party on one platform, with its sub-account numbers by role."""

    customer_no: str
    party: Party
    opened_on: date
    accounts: dict[AccountRole, str]

    @property
    def roles(self) -> list[str]:
        """Names of the roles in which the customer has a sub-account."""
        return [role.value for role in self.accounts]


@dataclass
class Community:
    """One platform with its customers and all its accounts, control accounts included."""

    platform_id: str
    name: str
    customers: list[Customer] = field(default_factory=list)

    def with_role(self, role: AccountRole) -> list[Customer]:
        """Customers that have a sub-account of a role."""
        return [customer for customer in self.customers if role in customer.accounts]

    def own_account(self, role: AccountRole) -> str:
        """Number of one of the platform's functional accounts, for example ``P01-F-INCOME``."""
        return f"{self.platform_id}-F-{role.value.removeprefix('PLATFORM_')}"

    def control_account(self, role: AccountRole) -> str:
        """Number of one of the bank's control accounts, for example ``P01-X-SPECIAL``."""
        names = {
            AccountRole.SPECIAL_ACCOUNT: "SPECIAL",
            AccountRole.WITHDRAWAL_PAYABLE: "WITHDRAWAL",
            AccountRole.OWN_FUNDS: "OWNFUNDS",
            AccountRole.SUSPENSE: "SUSPENSE",
            AccountRole.CHANNEL_RECEIVABLE: f"CHANNEL-{PAYMENT_COMPANY}",
        }
        return f"{self.platform_id}-X-{names[role]}"

    def account_roles(self) -> dict[str, AccountRole]:
        """Role of every account of the platform: customers', functional, control."""
        roles = {number: role for customer in self.customers for role, number in customer.accounts.items()}
        roles |= {self.own_account(role): role for role in FUNCTIONAL_ROLES}
        roles |= {self.control_account(role): role for role in CONTROL_IN_ORDER}
        return roles


FUNCTIONAL_ROLES = (AccountRole.PLATFORM_INCOME, AccountRole.PLATFORM_MARKETING, AccountRole.PLATFORM_COMPENSATORY)
CONTROL_IN_ORDER = (
    AccountRole.SPECIAL_ACCOUNT,
    AccountRole.WITHDRAWAL_PAYABLE,
    AccountRole.OWN_FUNDS,
    AccountRole.SUSPENSE,
    AccountRole.CHANNEL_RECEIVABLE,
)


def settle_people(parameters: WorldParameters) -> list[Community]:
    """Parties spread over the platforms: 7 of 10 lend, 2 borrow, 1 does both, some are on two platforms; guarantors besides."""
    rng = Random(f"{parameters.seed}/people")
    communities = [
        Community(platform_id, f"{PLATFORM_NAMES[index % len(PLATFORM_NAMES)]} {platform_id}")
        for index, platform_id in enumerate(parameters.platform_ids)
    ]
    for index in range(parameters.customers):
        party = _party(parameters.seed, f"PTY{index + 1:06d}", "N" if rng.random() < 0.94 else "E", rng)
        homes = [communities[index % len(communities)]]
        if len(communities) > 1 and rng.randrange(SECOND_PLATFORM_ONE_IN) == 0:
            homes.append(communities[(index + 1) % len(communities)])
        for home in homes:
            home.customers.append(_customer(home, party, parameters, rng))
    for community in communities:
        for number in range(1, 1 + (2 if len(community.customers) >= 100 else 1)):
            party = _party(parameters.seed, f"GUA-{community.platform_id}-{number:04d}", "E", rng)
            accounts = {AccountRole.GUARANTEECORP: f"{community.platform_id}-G-{number:04d}"}
            customer_no = f"{community.platform_id}-C{900_000 + number:06d}"
            community.customers.append(Customer(customer_no, party, _joined(parameters, rng), accounts))
    return communities


def _party(seed: int, party_ref: str, party_type: str, rng: Random) -> Party:
    id_hash = sha256(f"fundwatch-simulator|{seed}|{party_ref}".encode()).hexdigest()
    name = rng.choice(SURNAMES) + ("**" if party_type == "N" else "**公司")
    phone = f"1{rng.choice('356789')}{rng.randrange(10)}****{rng.randrange(10_000):04d}"
    return Party(party_ref, party_type, id_hash, name, phone)


def _customer(home: Community, party: Party, parameters: WorldParameters, rng: Random) -> Customer:
    position = len(home.customers)
    number = f"{position + 1:06d}"
    roles = {7: (AccountRole.BORROWERS,), 8: (AccountRole.BORROWERS,), 9: tuple(ROLE_LETTER)}.get(
        position % 10, (AccountRole.INVESTOR,)
    )
    accounts = {role: f"{home.platform_id}-{ROLE_LETTER[role]}-{number}" for role in roles}
    return Customer(f"{home.platform_id}-C{number}", party, _joined(parameters, rng), accounts)


def _joined(parameters: WorldParameters, rng: Random) -> date:
    first = months_after(parameters.opening_date, -parameters.history_months)
    return first - timedelta(days=rng.randrange(1, 200))


def registry(communities: list[Community], parameters: WorldParameters) -> dict[str, list[dict[str, Any]]]:
    """The registry rows of contracts section 5: platforms, payment companies, parties, customers, sub-accounts."""
    parties = {customer.party.party_ref: customer.party for home in communities for customer in home.customers}
    return {
        "platforms": [
            {
                "platform_id": home.platform_id,
                "name": home.name,
                "legal_name": f"{home.name} Ltd",
                "currency": CURRENCY,
                "pack_id": PACK,
                "onboarded_on": parameters.opening_date.isoformat(),
            }
            for home in communities
        ],
        "payment_companies": [
            {
                "paycom_id": PAYMENT_COMPANY,
                "name": "Clearwater Payments",
                "platform_ids": [home.platform_id for home in communities],
                "fee_terms": [dict(term) for term in FEE_TERMS],
            }
        ],
        "parties": [vars(party).copy() for party in parties.values()],
        "customers": [
            {
                "platform_id": home.platform_id,
                "customer_no": customer.customer_no,
                "party_ref": customer.party.party_ref,
                "roles": customer.roles,
                "opened_on": customer.opened_on.isoformat(),
            }
            for home in communities
            for customer in home.customers
        ],
        "sub_accounts": [row for home in communities for row in _sub_account_rows(home)],
    }


def _sub_account_rows(home: Community) -> list[dict[str, Any]]:
    owned = [(number, role, customer.customer_no) for customer in home.customers for role, number in customer.accounts.items()]
    functional = [(home.own_account(role), role, None) for role in FUNCTIONAL_ROLES]
    return [
        {
            "account_no": number,
            "platform_id": home.platform_id,
            "account_role": role.value,
            "customer_no": customer_no,
            "currency": CURRENCY,
        }
        for number, role, customer_no in [*owned, *functional]
    ]
