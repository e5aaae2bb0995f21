"""What the OpenAPI document says of bodies: the schemas of the structs that decode them, gathered when the document is made.

A route that writes says `openapi_extra=writing(Body)`; one whose body does not go through `once`: `openapi_extra=reading(Body)`.
What it answers is closed by `writing(Body, Answer)`, for a route that only reads by `answering(Answer)`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI

from transactional.idempotent import KEY_AND_DRY_RUN

LINES = "application/x-ndjson"
_REF = "#/components/schemas/{name}"
_MARK = "body-of:"
_KINDS: dict[str, type[msgspec.Struct]] = {}


def reading(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Extra of a route that decodes its body as `kind`."""
    return {"requestBody": {"required": True, "content": _content(kind)}}


def answering(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Extra of a route that answers 200 with a `kind`."""
    return {"responses": {"200": {"content": _content(kind)}}}


def writing(kind: type[msgspec.Struct], answer: type[msgspec.Struct] | None = None) -> dict[str, Any]:
    """Extra of a route that decodes its body as `kind` and answers through `once`: key, dry run, body, and what 201 answers."""
    if answer is None:
        return {**KEY_AND_DRY_RUN, **reading(kind)}
    would = {**KEY_AND_DRY_RUN["responses"]["200"], "content": _content(answer)}
    return {
        "parameters": KEY_AND_DRY_RUN["parameters"],
        "responses": {"200": would, "201": {"content": _content(answer)}},
        **reading(kind),
    }


def _content(kind: type[msgspec.Struct]) -> dict[str, Any]:
    name = f"{kind.__module__}.{kind.__qualname__}"
    _KINDS[name] = kind
    return {"application/json": {"schema": {"$ref": _MARK + name}}}


def writing_lines(name: str, switch: str) -> dict[str, Any]:
    """Extra of a route that reads one JSON object of schema `name` a line and answers in lines, with a switch in its query."""
    kept = [*KEY_AND_DRY_RUN["parameters"], {"name": switch, "in": "query", "schema": {"type": "boolean", "default": True}}]
    lines = {"type": "string", "description": f"One object of {_REF.format(name=name)} a line, without empty lines"}
    return {
        "parameters": kept,
        "requestBody": {"required": True, "content": {LINES: {"schema": lines}}},
        "responses": {"200": {"description": "One object a line", "content": {LINES: {"schema": {"type": "string"}}}}},
    }


TAGS = {
    "health": "Whether the process lives and can work.",
    "clock": "The service's time and open business date.",
    "registry": "Platforms, payment companies, customers, accounts and what changes about them, as versions.",
    "accounts": "Accounts, their balances at two times, their movements.",
    "orders": "Posting money: orders, one by one or in bulk.",
    "movements": "Movements of book B.",
    "holds": "Money set aside under numbers of the platforms.",
    "statements": "Statements of accounts, customers and platforms.",
    "approvals": "What one person proposes and another decides.",
    "days": "Closing business dates.",
    "sessions": "Signing in, passwords, second factors.",
    "people": "Persons of the bank and what their roles permit.",
    "calendars": "Working-day calendars, in versions.",
    "audit": "Who changed what, and who took data out.",
    "access review": "Who may do what, confirmed by a second person.",
    "loans": "Loans, plans, and the instructions that move a loan's money.",
    "claims": "Lenders' claims and their chain of title.",
    "transfers": "Claims for sale and their deals.",
    "mandates": "Lenders' standing authorisations to bid.",
    "guarantees": "Guarantees, calls, payouts, recoveries.",
    "collateral": "Collateral, its valuations and liens.",
    "contracts": "Hashes of contracts and how long they are kept.",
    "limits": "Caps, and how much of them is left.",
    "withdrawals": "Withdrawals from the question to the payout or its return.",
    "recharges": "Recharges from the announcement to the payment or its return.",
    "platform money": "Urgent payments, marketing and service fees of platforms.",
    "receipts": "Receipts without a known owner; interest, charges and taxes of the special accounts.",
    "live reconciliation": "What platforms post, line by line, compared with book B while the day goes on.",
    "breaks": "Open items of the reconciliation, what people say of them, and their history over runs.",
    "adjustments": "Corrections by two people, with the customer's consent for debits.",
    "legal holds": "Freezes by courts, deaths, dormancy.",
    "outside": "Deliveries to other systems, and what core banking answers.",
}
ABOUT = """A custodian bank's ledger of the money of lending marketplaces. Amounts are integers in minor units of a currency;
times are UTC, and every movement has a business date. Every POST that changes something takes an Idempotency-Key;
errors are problem documents (RFC 9457)."""


class Documented(FastAPI):
    """An application whose document has the schemas of all bodies, and each error's description once."""

    def __init__(self, problems: dict[int | str, dict[str, Any]], **more: Any) -> None:
        """`problems`: what every operation may answer beside its success, by status."""
        tags = [{"name": name, "description": meaning} for name, meaning in TAGS.items()]
        super().__init__(
            title="Fundwatch transactional service",
            version="1",
            description=ABOUT,
            contact={"name": "Fundwatch maintainers"},
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            openapi_tags=tags,
            servers=[{"url": "/", "description": "where the service listens"}],
            responses=problems,
            **more,
        )

    def openapi(self) -> dict[str, Any]:
        """The document, made once."""
        if self.openapi_schema is None:
            document = _with_problems(_with_bodies(super().openapi()))
            document["components"]["securitySchemes"] = {
                "bearer": {"type": "http", "scheme": "bearer", "description": "a platform's API key, or the token of a session"}
            }
            document["security"] = [{"bearer": []}]
            self.openapi_schema = document
        return self.openapi_schema


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Each error status once, as a component: every operation declares the same."""
    shared: dict[str, Any] = {}
    for item in document["paths"].values():
        for operation in item.values():
            for status, answer in operation["responses"].items():
                if "application/problem+json" in answer.get("content", {}):
                    shared[f"Problem{status}"] = answer
                    operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
    document["components"]["responses"] = shared
    return document


def _with_bodies(document: dict[str, Any]) -> dict[str, Any]:
    names = sorted(_KINDS)
    found, components = msgspec.json.schema_components([_KINDS[name] for name in names], ref_template=_REF)
    schemas = dict(zip(names, found, strict=True))
    used: set[str] = set()
    for item in document["paths"].values():
        for operation in item.values():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                content = part.get("content", {}).get("application/json")
                mark = content["schema"].get("$ref", "") if content else ""
                if mark.startswith(_MARK):
                    content["schema"] = schemas[mark.removeprefix(_MARK)]
                    used.add(mark.removeprefix(_MARK))
    assert used <= set(names), used
    document.setdefault("components", {}).setdefault("schemas", {}).update(components)
    _spell_patterns(document)
    return document


def _spell_patterns(value: Any) -> None:
    r"""JSON Schema's patterns are those of ECMA-262, which knows no ``\Z``."""
    if isinstance(value, dict):
        if isinstance(pattern := value.get("pattern"), str):
            value["pattern"] = pattern.replace("\\Z", "$")
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _spell_patterns(part)
