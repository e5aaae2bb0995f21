"""Who asks the registry: a platform or the bank's systems by API key, or one of the bank's people by session."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from transactional.keys import EVERY_PLATFORM, covers
from transactional.problems import Problem
from transactional.service import scope_of
from transactional.staff import staff_of


@dataclass(frozen=True)
class Asker:
    """`actor` is named by audit and versions, idempotency keys are unique in `keys_scope`, `reach` is a platform id or ``*``."""

    actor: str
    keys_scope: str
    reach: str

    @property
    def platform(self) -> str | None:
        """The one platform this asker sees; None: every platform."""
        return None if self.reach == EVERY_PLATFORM else self.reach

    def require(self, platform_id: str) -> None:
        """Problem NOT_FOUND for a platform out of reach: it looks like none."""
        if not covers(self.reach, platform_id):
            raise Problem("NOT_FOUND", f"there is no platform {platform_id}", field="platform_id")


async def asker_of(request: Request, permission: str) -> Asker:
    """The API key's scope, or the signed-in person with `permission`; Problems of `scope_of` and `staff_of`."""
    try:
        scope = await scope_of(request)
    except Problem as problem:
        if problem.code != "NOT_AUTHENTICATED":
            raise
        staff = await staff_of(request, permission)
        return Asker(staff.login_name, staff.scope, EVERY_PLATFORM)
    return Asker(f"key:{scope}", scope, scope)
