"""`POST /v1/registry/upsert`: customers and sub-accounts row by row, each with what became of it (rows 0.6, 1.30)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from domain.money import MINOR_DIGITS
from domain.vocabulary import CONTROL_ROLES, AccountRole
from transactional.bodies import decode
from transactional.idempotent import once
from transactional.openapi import writing
from transactional.problems import Problem
from transactional.registry_asker import asker_of
from transactional.registry_bodies import ROWS_MAX, AccountRow, CustomerRow, Upsert, check_masked
from transactional.registry_versions import bank_day
from transactional.service import read_body

router = APIRouter(prefix="/v1/registry", tags=["registry"])
UPSERT = "SELECT list, place, key, outcome, changes, code, field, value FROM registry.upsert($1, $2::jsonb, $3::jsonb, $4, $5)"
ROWS_OF: dict[str, type[msgspec.Struct]] = {"customers": CustomerRow, "accounts": AccountRow}


@dataclass(frozen=True)
class Refusal:
    """Why a row is not taken: a problem code, the field and its fault."""

    place: int
    code: str
    field: str
    detail: str


def checked(name: str, rows: Sequence[dict[str, Any]]) -> tuple[dict[int, dict[str, Any]], list[Refusal]]:
    """Rows of the list `name` (a key of ROWS_OF) that are what the contract says, by place, and the others with the reason."""
    good: dict[int, dict[str, Any]] = {}
    refused: list[Refusal] = []
    seen: set[str] = set()
    for place, row in enumerate(rows):
        try:
            body = msgspec.convert(row, ROWS_OF[name])
            key = _check(body)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `")
            field = where.rstrip("`").removeprefix("$").removeprefix(".") or _named(what)
            refused.append(Refusal(place, "BODY_INVALID", field, what))
        except Problem as problem:
            refused.append(Refusal(place, problem.code, problem.more["field"], problem.detail))
        else:
            if key in seen:
                refused.append(Refusal(place, "BODY_INVALID", f"{name[:-1]}_no", f"{key} stands in this call before"))
            else:
                good[place] = msgspec.to_builtins(body)
                seen.add(key)
    return good, refused


def _named(what: str) -> str:
    return what.split("`")[1] if what.count("`") >= 2 else ""


def _check(body: Any) -> str:
    if isinstance(body, CustomerRow):
        check_masked(body.name_masked, "name_masked")
        check_masked(body.phone_masked, "phone_masked")
        return body.customer_no
    if body.currency not in MINOR_DIGITS:
        raise Problem("BODY_INVALID", f"unknown currency {body.currency}", field="currency")
    if body.account_role not in {role.value for role in AccountRole if role not in CONTROL_ROLES}:
        raise Problem("BODY_INVALID", f"{body.account_role} is not the role of a sub-account", field="account_role")
    return str(body.account_no)


@router.post("/upsert", status_code=201, openapi_extra=writing(Upsert))
async def upsert(request: Request) -> Response:
    """At most 5,000 rows: each NEW, CHANGED (field, before, after), UNCHANGED or REFUSED (why); good rows stay."""
    asker = await asker_of(request, "keep_registry")
    body = decode(Upsert, await read_body(request))
    asker.require(body.platform_id)
    if len(body.customers) + len(body.accounts) > ROWS_MAX:
        raise Problem("BODY_TOO_LARGE", f"a call takes at most {ROWS_MAX} rows")
    good, refused = {}, {}
    for name in ROWS_OF:
        good[name], refused[name] = checked(name, getattr(body, name))

    async def act(connection: Any) -> Any:
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM registry.platform WHERE platform_id = $1)", body.platform_id
        ):
            raise Problem("UNKNOWN_PLATFORM", f"no platform {body.platform_id}", field="platform_id")
        given = [msgspec.json.encode(list(good[name].values())).decode() for name in ROWS_OF]
        valid_from: date = body.valid_from or await bank_day(request, connection)
        rows = await connection.fetch(UPSERT, body.platform_id, *given, valid_from, asker.actor)
        results = [_refused(name, refusal, getattr(body, name)) for name in ROWS_OF for refusal in refused[name]]
        results += [_result(row, list(good[row["list"]])[row["place"]]) for row in rows]
        return _answer(results)

    return await once(request, asker.keys_scope, body, act)


def _refused(name: str, refusal: Refusal, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    key = rows[refusal.place].get("customer_no" if name == "customers" else "account_no")
    reason = {"code": refusal.code, "field": refusal.field, "detail": refusal.detail}
    return {
        "list": name,
        "row": refusal.place,
        "key": str(key) if key else None,
        "outcome": "REFUSED",
        "changes": [],
        "reason": reason,
    }


def _result(row: Any, place: int) -> dict[str, Any]:
    reason = None if row["code"] is None else {"code": row["code"], "field": row["field"], "detail": row["value"]}
    changes = msgspec.json.decode(row["changes"])
    return {"list": row["list"], "row": place, "key": row["key"], "outcome": row["outcome"], "changes": changes, "reason": reason}


def _answer(results: list[dict[str, Any]]) -> dict[str, Any]:
    order = {name: at for at, name in enumerate(ROWS_OF)}
    outcomes = [result["outcome"] for result in results]
    counts = {word.lower(): outcomes.count(word) for word in ("NEW", "CHANGED", "UNCHANGED", "REFUSED")}
    return {**counts, "rows": sorted(results, key=lambda result: (order[result["list"]], result["row"]))}
