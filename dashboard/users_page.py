"""`/users`: administrators make persons, disable and enable them, and change their roles. They see no figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.forms import Form, posted
from dashboard.rendering import Language, Renderer
from dashboard.session import Person, connections, require
from fundwatch.settings import Settings
from transactional import passwords, users
from transactional.permissions import PERMISSIONS, ROLES

Admin = Annotated[Person, Depends(require("manage_users"))]
Posted = Annotated[Form, Depends(posted)]


def routes(settings: Settings, render: Renderer) -> APIRouter:
    """The list, and one address for each change."""
    router = APIRouter()

    def page(request: Request, lang: str, status: int = 200, **values: object) -> Response:
        with connections(request).lend() as connection:
            people = users.listed(connection)
        shared = {"people": people, "roles": ROLES, "permissions": PERMISSIONS, "zone": settings.zone}
        return render(request, "users.html", lang, status, **shared, **values)

    def change(request: Request, lang: str, name: str, work: Callable[[users.Connection], bool]) -> Response:
        """Do a change and show the list; a refusal shows why, an unknown name is 404."""
        try:
            with connections(request).lend() as connection:
                done = work(connection)
        except users.PersonRefused as refused:
            if refused.reason == "unknown_person":
                raise HTTPException(404) from None
            return page(request, lang, 422, message=refused.reason)
        query = urlencode({"lang": lang, "changed": name, **({} if done else {"same": 1})})
        return RedirectResponse(f"/users?{query}", 303)

    @router.get("/users")
    def list_users(request: Request, person: Admin, lang: Language = "en", changed: str = "", same: str = "") -> Response:
        """All persons with role, state and last login."""
        known = changed if users.LOGIN_NAME.fullmatch(changed) else ""
        return page(request, lang, changed=known, same=bool(same))

    @router.post("/users")
    def create_user(request: Request, person: Admin, given: Posted, lang: Language = "en") -> Response:
        """Make a person with a one-time password, which this answer shows and nobody sees again."""
        name, role = given.get("name", "").strip(), given.get("role", "")
        password = passwords.generated()
        try:
            with connections(request).lend() as connection:
                made = users.create(
                    connection,
                    name,
                    role,
                    password,
                    display_name=given.get("display_name", ""),
                    actor=person.user_id,
                    must_change_password=True,
                )
        except users.PersonRefused as refused:
            return page(request, lang, 422, message=refused.reason, given=given)
        return page(request, lang, 201, made=made, password=password)

    @router.post("/users/{name}/role")
    def change_role(request: Request, name: str, person: Admin, given: Posted, lang: Language = "en") -> Response:
        """Give a person another role; their sessions end."""
        role = given.get("role", "")
        return change(request, lang, name, lambda connection: users.set_role(connection, name, role, person.user_id))

    @router.post("/users/{name}/state")
    def change_state(request: Request, name: str, person: Admin, given: Posted, lang: Language = "en") -> Response:
        """Disable a person, whose sessions end, or enable them again."""
        if given.get("disabled") not in ("yes", "no"):
            raise HTTPException(422)
        disabled = given["disabled"] == "yes"
        return change(request, lang, name, lambda connection: users.set_disabled(connection, name, disabled, person.user_id))

    return router
