"""`/v1/contracts`: hashes of what was signed, disputes, until when each is kept (spec 02 section 2.6, spec 10 1.19, 1.20)."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from transactional.bodies import decode
from transactional.listings import CSV_ANSWER
from transactional.loans_bodies import Content, Contract, ContractEvent
from transactional.loans_records import Cursor, Limit, Number, Platform, Records, one, page, platform_read, record
from transactional.openapi import writing
from transactional.service import read_body, service_of

router = APIRouter(prefix="/v1/contracts", tags=["contracts"])
CONTRACTS = Records("contract_state", "contract_no")
_EVENTS = """
SELECT seq, event, happened_on, evidence_sha256, recorded_at, actor FROM loans.contract_event
WHERE platform_id = $1 AND contract_no = $2 ORDER BY seq"""


@router.post("", status_code=201, openapi_extra=writing(Contract))
async def archive_contract(request: Request) -> Response:
    """Keep the hash of a signed contract; its parties are customers and include those of what it is about."""
    return await record(request, decode(Contract, await read_body(request)), "archive_contract")


@router.post("/{contract_no}/events", status_code=201, openapi_extra=writing(ContractEvent))
async def add_event(request: Request, contract_no: str) -> Response:
    """A delivery, or a dispute that opens or ends; while one is open the contract is kept without end."""
    return await record(request, decode(ContractEvent, await read_body(request)), "put_contract_event", contract_no=contract_no)


@router.post("/{contract_no}/verify", status_code=201, openapi_extra=writing(Content))
async def verify_contract(request: Request, contract_no: str) -> Response:
    """Whether content with this hash is what was signed (`is_same`); question and answer are kept as an event."""
    return await record(request, decode(Content, await read_body(request)), "verify_contract", contract_no=contract_no)


@router.get("/{contract_no}")
async def get_contract(request: Request, contract_no: str, platform_id: Platform = None) -> dict[str, Any]:
    """A contract with its events and `retain_until`."""
    platform = await platform_read(request, platform_id)
    found = await one(request, CONTRACTS, platform, contract_no)
    events = await service_of(request).pool.fetch(_EVENTS, platform, contract_no)
    return found | {"events": [dict(row) for row in events]}


@router.get("", responses=CSV_ANSWER)
async def list_contracts(
    request: Request,
    platform_id: Platform = None,
    loan_no: Number = None,
    kind: Literal["LOAN", "GUARANTEE", "TRANSFER", "COLLATERAL"] | None = None,
    subject_no: Number = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Any:
    """Contracts by number."""
    return await page(
        request, CONTRACTS, platform_id, {"loan_no": loan_no, "kind": kind, "subject_no": subject_no}, cursor, limit
    )
