"""Who reads book B: a platform by its key, which sees itself, or one of the bank's people, whose looks are written down."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from transactional.keys import EVERY_PLATFORM, covers
from transactional.problems import Problem
from transactional.service import scope_of
from transactional.staff import Staff, note, staff_of


@dataclass(frozen=True)
class Reader:
    """`reach` is a platform id or ``*``; `staff` is None for an API key."""

    reach: str
    staff: Staff | None

    @property
    def platform(self) -> str | None:
        """The one platform this reader sees; None: every platform."""
        return None if self.reach == EVERY_PLATFORM else self.reach

    def sees(self, platform_id: str) -> bool:
        """Whether rows of a platform are shown."""
        return covers(self.reach, platform_id)

    async def looked(self, request: Request, kind: str, subject: str) -> None:
        """Write a person's look at one thing to the access log, before it is shown."""
        if self.staff is not None:
            await note(request, self.staff, kind, subject)


async def reader_of(request: Request, *permissions: str) -> Reader:
    """The API key's scope, or the signed-in person with all of `permissions`; Problems of `scope_of` and `staff_of`."""
    try:
        return Reader(await scope_of(request), None)
    except Problem as problem:
        if problem.code != "NOT_AUTHENTICATED":
            raise
    staff = [await staff_of(request, permission) for permission in permissions]
    return Reader(EVERY_PLATFORM, staff[0])
