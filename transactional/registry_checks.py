"""Asked before money moves: may this project be disbursed, is this address, merchant or account on the white list."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request

from transactional.address_lists import covers_address
from transactional.bodies import decode
from transactional.openapi import reading
from transactional.problems import Problem
from transactional.registry_asker import asker_of
from transactional.registry_bodies import HoldsOfProject
from transactional.registry_versions import bank_day
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1", tags=["registry"])
LISTED = """SELECT value FROM registry.current_white_list WHERE platform_id = $1 AND kind = $2
  AND holds_from <= $3 AND (holds_to IS NULL OR holds_to >= $3)"""


@router.post("/projects/{project_no}/disbursement-check", openapi_extra=reading(HoldsOfProject))
async def check_disbursement(request: Request, project_no: str) -> dict[str, Any]:
    """Whether the lenders' holds may become the borrower's money: `allowed`, and every reason against it (row 3.2)."""
    asker = await asker_of(request, "see_rows")
    body = decode(HoldsOfProject, await read_body(request))
    asker.require(body.platform_id)
    if "\x00" in project_no:
        raise Problem("NOT_FOUND", "there is no such project")
    async with service_of(request).pool.acquire() as connection:
        reasons = await connection.fetchval(
            "SELECT registry.disbursement_obstacles($1, $2, $3, $4)",
            *(body.platform_id, project_no, body.hold_nos, await bank_day(request, connection)),
        )
    found = msgspec.json.decode(reasons)
    return {"allowed": not found, "reasons": found}


@router.get("/white-lists/check")
async def check_white_list(
    request: Request,
    kind: Literal["MERCHANT", "IP", "ACCOUNT"],
    value: Annotated[str, Query(min_length=1, max_length=128, pattern=r"^[^\x00]*$")],
    platform_id: Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[^\x00]*$")],
) -> dict[str, Any]:
    """Whether a value stands on a platform's list today, and by which entry; addresses are looked for in networks (row 1.28c)."""
    asker = await asker_of(request, "see_rows")
    asker.require(platform_id)
    async with service_of(request).pool.acquire() as connection:
        rows = await connection.fetch(LISTED, platform_id, kind, await bank_day(request, connection))
    entries = [row["value"] for row in rows]
    if kind == "IP":
        entry = next((network for network in entries if covers_address(ipaddress.ip_network(network), value)), None)
    else:
        entry = value if value in entries else None
    return {"listed": entry is not None, "entry": entry}
