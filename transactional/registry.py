"""`POST /v1/registry`: who and what there is, set-based and idempotent by natural key (contracts section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import msgspec
from fastapi import APIRouter
from starlette.requests import Request

from domain.money import MINOR_DIGITS
from domain.vocabulary import CONTROL_ROLES, AccountRole
from transactional.bodies import decode
from transactional.idempotent import refused
from transactional.keys import EVERY_PLATFORM
from transactional.openapi import reading
from transactional.problems import Problem
from transactional.registry_bodies import ROWS_MAX, Registry, check_masked
from transactional.service import read_body, scope_of, service_of

router = APIRouter(prefix="/v1/registry", tags=["registry"])
PLATFORM_CONTROLS = {
    "SPECIAL": AccountRole.SPECIAL_ACCOUNT,
    "WITHDRAWAL": AccountRole.WITHDRAWAL_PAYABLE,
    "OWNFUNDS": AccountRole.OWN_FUNDS,
    "SUSPENSE": AccountRole.SUSPENSE,
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A registry table: its name, natural key and the columns a call gives, with their types."""

    table: str
    key: tuple[str, ...]
    columns: dict[str, str]

    @property
    def insert(self) -> str:
        """Statement that adds rows not there yet; $1 is the JSON list of rows."""
        names = ", ".join(self.columns)
        return f"""INSERT INTO registry.{self.table} ({names}, recorded_at)
            SELECT {names}, ledger.clock_now() FROM {self._given} ON CONFLICT DO NOTHING"""

    @property
    def differing(self) -> str:
        """Query for the first row whose registered content is another, and the names of its differing fields."""
        others = [name for name in self.columns if name not in self.key] or [self.key[0]]
        fields = ", ".join(f"CASE WHEN given.{name} IS DISTINCT FROM there.{name} THEN '{name}' END" for name in others)
        key = " || ' ' || ".join(f"given.{name}" for name in self.key)
        return f"""SELECT key, fields FROM (
            SELECT {key} AS key, array_remove(ARRAY[{fields}], NULL) AS fields
            FROM {self._given} AS given JOIN registry.{self.table} there USING ({", ".join(self.key)})) compared
            WHERE cardinality(fields) > 0 ORDER BY key LIMIT 1"""

    @property
    def _given(self) -> str:
        types = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"(SELECT * FROM jsonb_to_recordset($1::jsonb) AS x({types}))"


PLATFORM = Target(
    "platform",
    ("platform_id",),
    {"platform_id": "text", "name": "text", "legal_name": "text", "currency": "text", "pack_id": "text", "onboarded_on": "date"},
)
PAYMENT_COMPANY = Target("payment_company", ("paycom_id",), {"paycom_id": "text", "name": "text"})
FEES = Target("payment_company_fee", ("paycom_id",), {"paycom_id": "text", "fee_terms": "jsonb"})
SERVES = Target("payment_company_platform", ("paycom_id", "platform_id"), {"paycom_id": "text", "platform_id": "text"})
PARTY = Target(
    "party",
    ("party_ref",),
    {"party_ref": "text", "party_type": "text", "id_hash": "text", "name_masked": "text", "phone_masked": "text"},
)
CUSTOMER = Target(
    "customer",
    ("platform_id", "customer_no"),
    {"platform_id": "text", "customer_no": "text", "party_id": "bigint", "roles": "text[]", "opened_on": "date"},
)
ACCOUNT = Target(
    "account",
    ("account_no",),
    {
        "account_no": "text",
        "platform_id": "text",
        "account_role": "text",
        "is_control": "boolean",
        "currency": "text",
        "customer_no": "text",
        "paycom_id": "text",
    },
)


@router.post("", openapi_extra=reading(Registry))
async def post_registry(request: Request) -> dict[str, int]:
    """Register rows, all of them or none; answers how many rows of each list were new."""
    if await scope_of(request) != EVERY_PLATFORM:
        raise Problem("OTHER_PLATFORM", "only a key for every platform registers")
    body = decode(Registry, await read_body(request))
    _check(body)
    try:
        async with service_of(request).pool.acquire() as connection, connection.transaction():
            return await _register(connection, body)
    except asyncpg.ForeignKeyViolationError as error:
        raise Problem("UNKNOWN_REFERENCE", error.detail or "a row names another that is not registered") from None
    except asyncpg.UniqueViolationError as error:  # another call registered the same identity at this moment
        raise Problem("IDENTITY_TAKEN", error.detail or "this identity is registered under another party_ref") from None
    except asyncpg.PostgresError as error:
        raise refused(error) from None


async def _register(connection: Any, body: Registry) -> dict[str, int]:
    new = {
        "platforms": await _add(connection, PLATFORM, _rows(body.platforms)),
        "payment_companies": await _add(
            connection, PAYMENT_COMPANY, [{"paycom_id": row.paycom_id, "name": row.name} for row in body.payment_companies]
        ),
        "parties": await _add(connection, PARTY, _rows(body.parties)),
    }
    serves = [{"paycom_id": row.paycom_id, "platform_id": name} for row in body.payment_companies for name in row.platform_ids]
    await _add(connection, SERVES, serves)
    # who says nothing of fees leaves what was registered
    fees = [{"paycom_id": row.paycom_id, "fee_terms": _rows(row.fee_terms)} for row in body.payment_companies if row.fee_terms]
    await _add(connection, FEES, fees)
    new["customers"] = await _add(connection, CUSTOMER, await _customers(connection, body))
    await _add(connection, ACCOUNT, await _control_accounts(connection, body, serves))
    sub_accounts = [{"is_control": False, "paycom_id": None, **row} for row in _rows(body.sub_accounts)]
    new["sub_accounts"] = await _add(connection, ACCOUNT, sub_accounts)
    return new


async def _add(connection: Any, target: Target, rows: Sequence[Row]) -> int:
    if not rows:
        return 0
    given = msgspec.json.encode(rows).decode()
    await _refuse_differing(connection, target, given)
    status = await connection.execute(target.insert, given)
    await _refuse_differing(connection, target, given)  # one key twice in the call
    return int(status.rpartition(" ")[2])


async def _refuse_differing(connection: Any, target: Target, given: str) -> None:
    fault = await connection.fetchrow(target.differing, given)
    if fault is not None:
        detail = f"{target.table} {fault['key']} is registered with another {', '.join(fault['fields'])}"
        raise Problem("REGISTRY_DIFFERS", detail, key=fault["key"], fields=fault["fields"])


async def _customers(connection: Any, body: Registry) -> list[Row]:
    references = [row.party_ref for row in body.customers]
    found = await connection.fetch("SELECT party_ref, party_id FROM registry.party WHERE party_ref = ANY($1)", references)
    party_ids = {row["party_ref"]: row["party_id"] for row in found}
    rows = []
    for index, row in enumerate(body.customers):
        if row.party_ref not in party_ids:
            raise Problem("UNKNOWN_REFERENCE", f"no party {row.party_ref}", field=f"customers[{index}].party_ref")
        given: Row = msgspec.to_builtins(row)
        del given["party_ref"]
        rows.append({**given, "party_id": party_ids[row.party_ref], "roles": sorted(row.roles)})
    return rows


async def _control_accounts(connection: Any, body: Registry, serves: Sequence[Row]) -> list[Row]:
    names = [row.platform_id for row in body.platforms] + [row["platform_id"] for row in serves]
    found = await connection.fetch("SELECT platform_id, currency FROM registry.platform WHERE platform_id = ANY($1)", names)
    currencies = {row["platform_id"]: row["currency"] for row in found}
    wanted = [(row.platform_id, suffix, role, None) for row in body.platforms for suffix, role in PLATFORM_CONTROLS.items()]
    wanted += [
        (row["platform_id"], f"CHANNEL-{row['paycom_id']}", AccountRole.CHANNEL_RECEIVABLE, row["paycom_id"]) for row in serves
    ]
    return [
        {
            "account_no": f"{platform_id}-X-{suffix}",
            "platform_id": platform_id,
            "account_role": role,
            "is_control": True,
            "currency": currencies[platform_id],
            "customer_no": None,
            "paycom_id": paycom_id,
        }
        for platform_id, suffix, role, paycom_id in wanted
    ]


def _check(body: Registry) -> None:
    customers_and_parties = len(body.parties) + len(body.customers)
    if len(body.platforms) + len(body.payment_companies) + customers_and_parties + len(body.sub_accounts) > ROWS_MAX:
        raise Problem("BODY_TOO_LARGE", f"a call registers at most {ROWS_MAX} rows")
    currencies = {f"platforms[{index}]": row.currency for index, row in enumerate(body.platforms)}
    currencies |= {f"sub_accounts[{index}]": row.currency for index, row in enumerate(body.sub_accounts)}
    for where, currency in currencies.items():
        if currency not in MINOR_DIGITS:
            raise Problem("BODY_INVALID", f"unknown currency {currency}", field=f"{where}.currency")
    for index, party in enumerate(body.parties):
        check_masked(party.name_masked, f"parties[{index}].name_masked")
        check_masked(party.phone_masked, f"parties[{index}].phone_masked")
    sub_roles = {role.value for role in AccountRole if role not in CONTROL_ROLES}
    for index, account in enumerate(body.sub_accounts):
        if account.account_role not in sub_roles:
            detail = f"{account.account_role} is not the role of a sub-account"
            raise Problem("BODY_INVALID", detail, field=f"sub_accounts[{index}].account_role")


def _rows(structs: Sequence[msgspec.Struct]) -> list[Row]:
    return [msgspec.to_builtins(struct) for struct in structs]
