"""Who may do what at the pages: five roles and what each is allowed, the one matrix that pages and navigation read."""

from __future__ import annotations

ROLES = ("viewer", "officer", "checker", "admin", "auditor")
_EVERYBODY = frozenset(ROLES)
_DESK = frozenset({"officer", "checker", "auditor"})

PERMISSIONS: dict[str, frozenset[str]] = {
    # figures, charts and their definitions: everybody but the administrator
    "see_figures": _DESK | {"viewer"},
    # the rows behind a figure; names are masked
    "see_rows": _DESK,
    # movements of one account, history of one loan or person: each look is written to the access log
    "see_timeline": _DESK,
    # a table as a file, in full: each export is written to the access log with its row count
    "export": _DESK,
    # runs, published dates, missing files, controls with their history
    "see_operations": _DESK | {"admin"},
    "propose_control": frozenset({"officer", "checker"}),
    # the database refuses a checker who is the maker
    "decide_control": frozenset({"checker"}),
    # four eyes at the service: the kind's own roles decide further (work.kind), and the database refuses one's own proposal
    "propose_approval": frozenset({"officer", "checker", "admin"}),
    "decide_approval": frozenset({"checker", "admin"}),
    "see_days": _DESK | {"admin"},
    # a close is final; the database lets a day be closed only when its books balance
    "close_day": frozenset({"officer", "checker"}),
    "see_approvals": _DESK | {"admin"},
    "manage_users": frozenset({"admin"}),
    # logins, accesses, changes of persons
    "see_audit": frozenset({"auditor", "admin"}),
    # one's own password, and leaving
    "own_account": _EVERYBODY,
}


def allows(role: str, permission: str) -> bool:
    """Whether a role has a permission (a key of PERMISSIONS); an unknown role has none.

    >>> allows("checker", "decide_control"), allows("admin", "see_figures")
    (True, False)
    """
    return role in PERMISSIONS[permission]
