"""`/audit`: who signed in, who looked at what, who changed whom; filters in the address, every table in full as CSV."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from dashboard.audit_trail import ROWS_SHOWN, TRAILS, Question, blocks, page, whole_file
from dashboard.rendering import Language, Renderer
from dashboard.session import Person, connections, note, require
from fundwatch.settings import Settings

Auditor = Annotated[Person, Depends(require("see_audit"))]
YEARS = (date(2000, 1, 1), date(2200, 1, 1))


def asked(
    table: str = "logins",
    who: Annotated[str, Query(pattern=r"^[a-z0-9._-]{0,32}$")] = "",
    kind: str = "",
    first: Annotated[str, Query(alias="from", max_length=10)] = "",
    last: Annotated[str, Query(alias="to", max_length=10)] = "",
) -> Question:
    """The filters of a request; an unknown value is refused (422), never widened."""
    if table not in TRAILS or (kind and kind not in TRAILS[table].kinds):
        raise HTTPException(422)
    return Question(table, who, kind, _day(first), _day(last))


Asked = Annotated[Question, Depends(asked)]


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The page and the file."""
    router = APIRouter()

    @router.get("/audit")
    def audit(
        request: Request,
        person: Auditor,
        question: Asked,
        lang: Language = "en",
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    ) -> Response:
        """The newest rows of one table, and how many there are."""
        with connections(request).lend() as connection:
            rows, count = page(connection, question, settings.zone, before)
        query = _query(question) | {"lang": lang}
        return render(
            request,
            "audit.html",
            lang,
            question=question,
            trails=TRAILS,
            trail=TRAILS[question.table],
            rows=rows,
            count=count,
            zone=settings.zone,
            table_urls={name: f"/audit?{urlencode({'lang': lang, 'table': name, 'who': question.who})}" for name in TRAILS},
            csv_url=f"/audit.csv?{urlencode(query)}",
            older_url=f"/audit?{urlencode(query | {'before': rows[-1]['id']})}" if len(rows) == ROWS_SHOWN else None,
            newest_url=f"/audit?{urlencode(query)}" if before else None,
        )

    @router.get("/audit.csv")
    def audit_file(request: Request, person: Auditor, question: Asked, lang: Language = "en") -> Response:
        """Every row that the filters leave; the export itself is written to the access log before it is sent."""
        with connections(request).lend() as connection:
            file, rows = whole_file(connection, question, settings.zone)
        note(request, "EXPORT", f"audit {question.table}", rows, {"filters": _query(question)})
        headers = {"Content-Disposition": f'attachment; filename="audit_{question.table}.csv"', "X-Row-Count": str(rows)}
        return StreamingResponse(blocks(file), media_type="text/csv; charset=utf-8", headers=headers)

    return router


def _query(question: Question) -> dict[str, str]:
    given = {
        "table": question.table,
        "who": question.who,
        "kind": question.kind,
        "from": question.first.isoformat() if question.first else "",
        "to": question.last.isoformat() if question.last else "",
    }
    return {name: value for name, value in given.items() if value}


def _day(given: str) -> date | None:
    if not given:
        return None
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise HTTPException(422) from None
    if not YEARS[0] <= day <= YEARS[1]:
        raise HTTPException(422)
    return day
