"""`/operations`: how the night stands, and what people do to it: one proposes with a reason, another decides (decision 0004)."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from dashboard import night_state, trust
from dashboard.connections import Connections
from dashboard.forms import Form, posted
from dashboard.published import reading
from dashboard.rendering import Language, Renderer
from dashboard.session import Person, connections, require
from fundwatch.settings import Settings
from transactional import controls
from transactional.controls import Control, ControlRefused, Kind

HISTORY_MAX = 200
CONTROL_ID_MAX = 2**63 - 1
# in a form the sender of a platform's own file is the platform that is chosen beside it
THE_PLATFORM = "="
Watcher = Annotated[Person, Depends(require("see_operations"))]
Maker = Annotated[Person, Depends(require("propose_control"))]
Checker = Annotated[Person, Depends(require("decide_control"))]
Posted = Annotated[Form, Depends(posted)]
Prefilled = Annotated[str, Query(pattern=r"^[A-Za-z0-9._:@=-]{0,130}$")]


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The page, the address for proposals and the one for decisions."""
    router = APIRouter()

    def page(request: Request, lang: str, status: int = 200, **values: object) -> Response:
        shown = _night(request.app.state.readers, settings) | _desk(connections(request), settings)
        return render(request, "operations.html", lang, status, zone=settings.zone, **(shown | {"given": {}} | values))

    @router.get("/operations")
    def operations(
        request: Request,
        person: Watcher,
        lang: Language = "en",
        platform: Prefilled = "",
        business_date: Annotated[str, Query(alias="date", pattern=r"^[0-9-]{0,10}$")] = "",
        file: Prefilled = "",
        done: Annotated[str, Query(pattern="^(proposed|approved|rejected)?$")] = "",
        control: Annotated[int | None, Query(ge=1, le=CONTROL_ID_MAX)] = None,
    ) -> Response:
        """How the night stands, and its controls; the address may prefill "go on without a file"."""
        given = {"kind": Kind.WITHOUT_FILE.value, "platform": platform, "date": business_date, "file": file} if file else {}
        return page(request, lang, given=given, done=done, control_id=control)

    @router.post("/operations/controls")
    def propose(request: Request, person: Maker, given: Posted, lang: Language = "en") -> Response:
        """Put a control down; it has no effect until a second person approves it."""
        try:
            with connections(request).lend() as connection:
                control_id = controls.propose(connection, _control(given), person.name, bank_id=settings.bank_id)
        except ControlRefused as refused:
            return page(request, lang, 422, refused=refused, given=given)
        return _done(lang, "proposed", control_id)

    @router.post("/operations/controls/{control_id}/decision")
    def decide(request: Request, control_id: str, person: Checker, given: Posted, lang: Language = "en") -> Response:
        """Approve or reject a control of somebody else, once."""
        number = _known_number(control_id)
        if given.get("decision") not in ("approve", "reject"):
            raise HTTPException(422)
        approve = given["decision"] == "approve"
        try:
            with connections(request).lend() as connection:
                controls.decide(connection, number, person.name, approve, given.get("note"))
        except ControlRefused as refused:
            if refused.code == "UNKNOWN_CONTROL":
                raise HTTPException(404) from None
            return page(request, lang, 422, refused=refused)
        return _done(lang, "approved" if approve else "rejected", number)

    return router


def _night(readers: Connections, settings: Settings) -> dict[str, Any]:
    """Runs, published dates and missing files, from one snapshot."""
    with reading(readers) as database:
        state = trust.trust(database, settings)
        missing = trust.missing_files(database, settings, "", state.as_of) if state else []
        return {
            "trust": state,
            "missing": [item | _file_named(item["match_key"]) for item in missing],
            "runs": night_state.last_runs(database),
            "platforms": night_state.platforms(database),
            "paycoms": night_state.payment_companies(database),
        }


def _desk(lent: Connections, settings: Settings) -> dict[str, Any]:
    """Controls and the hold in force, and the files that a control may name, by who sends them."""
    with lent.lend() as connection:
        roles: dict[str, list[str]] = {}
        for kind, role in connection.execute("SELECT file_kind, sender_role FROM ops.file_sender ORDER BY file_kind").fetchall():
            roles.setdefault(role, []).append(kind)
        return {
            "hold": controls.held(connection),
            "pending": controls.pending(connection),
            "history": [control for control in controls.listed(connection, HISTORY_MAX) if control.state != "PENDING"],
            "history_max": HISTORY_MAX,
            "file_kinds": roles,
            "bank_id": settings.bank_id,
        }


def _control(given: Form) -> Control:
    """A form as a control; a date that is none is refused like a missing one."""
    kind, platform = given.get("kind", ""), given.get("platform") or None
    file_kind, _, sender = given.get("file", "").partition("@")
    try:
        on = date.fromisoformat(given["date"]) if given.get("date") else None
    except ValueError:
        raise ControlRefused("SHAPE", f"{given['date']!r} is not a date") from None
    return Control(
        kind, platform, on, (platform if sender == THE_PLATFORM else sender) or None, file_kind or None, given.get("reason", "")
    )


def _file_named(match_key: str) -> dict[str, str]:
    """Sender and kind of a missing file's key (``SENDER/PLATFORM.KIND``), as the form writes them."""
    sender, _, rest = match_key.partition("/")
    platform, _, kind = rest.rpartition(".")
    return {"sender_id": sender, "file_kind": kind, "file": f"{kind}@{THE_PLATFORM if sender == platform else sender}"}


def _known_number(given: str) -> int:
    """A control's number out of an address; 404 for what cannot be one."""
    if not (given.isascii() and given.isdecimal() and len(given) < 20 and 0 < int(given) <= CONTROL_ID_MAX):
        raise HTTPException(404)
    return int(given)


def _done(lang: str, what: str, control_id: int) -> Response:
    return RedirectResponse(f"/operations?{urlencode({'lang': lang, 'done': what, 'control': control_id})}", 303)
