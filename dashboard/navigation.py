"""The pages that the navigation offers, in order, each with the permission it needs."""

from __future__ import annotations

from dataclasses import dataclass

from transactional.users import Person


@dataclass(frozen=True)
class Entry:
    """A page of the navigation: its path, the key of its name among the texts, and the permission it needs."""

    path: str
    text: str
    permission: str


ENTRIES = (
    Entry("/", "nav_overview", "see_figures"),
    Entry("/operations", "nav_operations", "see_operations"),
    Entry("/users", "nav_users", "manage_users"),
    Entry("/audit", "nav_audit", "see_audit"),
)


def entries_for(person: Person | None, path: str) -> list[tuple[Entry, bool]]:
    """What a person's role may open, each with whether it is the page shown; nothing before login."""
    if person is None or person.must_change_password:
        return []
    return [(entry, _is_here(entry.path, path)) for entry in ENTRIES if person.may(entry.permission)]


def start_of(person: Person) -> str:
    """Where a person begins after login: the first page their role may open."""
    return next(entry.path for entry in ENTRIES if person.may(entry.permission))


def _is_here(entry: str, path: str) -> bool:
    return path == entry or (entry != "/" and path.startswith(f"{entry}/"))
