"""What a form posts: a few short text fields, read once, never more than the cap."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import HTTPException, Request

Form = dict[str, str]
FIELDS_MAX = 30


async def posted(request: Request) -> Form:
    """Fields of an urlencoded body, empty for a request without one.

    400 for fields that repeat, are not UTF-8 or too many; 415 for another kind of body; the size is capped by `security`.
    """
    body = await request.body()
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise HTTPException(400) from None
    form = dict(pairs)
    if len(form) != len(pairs) or any("\x00" in value for value in form.values()):
        raise HTTPException(400)
    return form
