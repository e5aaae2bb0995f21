"""Who may do what, at the pages and at the service: six roles and what each is allowed, the one matrix that everything reads.

What one proposes and another decides has its own roles a kind (`work.kind`); both together are `GET /v1/permissions`.
"""

from __future__ import annotations

ROLES = ("viewer", "officer", "checker", "finance", "admin", "auditor")
_EVERYBODY = frozenset(ROLES)
_DESK = frozenset({"officer", "checker", "auditor"})

PERMISSIONS: dict[str, frozenset[str]] = {
    # figures, charts and their definitions: everybody but the administrator
    "see_figures": _DESK | {"viewer", "finance"},
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
    "propose_approval": frozenset({"officer", "checker", "finance", "admin"}),
    "decide_approval": frozenset({"checker", "finance", "admin"}),
    "see_days": _DESK | {"finance", "admin"},
    # a close is final; the database lets a day be closed only when its books balance
    "close_day": frozenset({"officer", "checker"}),
    # customers, cards, projects, related parties, complaints of any platform, in the platform's stead
    "keep_registry": frozenset({"officer", "checker"}),
    "see_approvals": _DESK | {"finance", "admin"},
    # rows of the registry and of accounts, names masked: platforms, payment companies, parties, customers, sub-accounts, balances
    "see_registry": _DESK | {"finance"},
    "see_accounts": _DESK | {"finance"},
    "see_legal_holds": _DESK | {"finance"},
    "see_limits": _DESK | {"finance"},
    # corrections of a customer's account are proposed and decided by finance alone (spec 07 section 7.8)
    "see_adjustments": _DESK | {"finance"},
    "make_adjustment": frozenset({"finance"}),
    "decide_adjustment": frozenset({"finance"}),
    # who looks into a break: that person is no checker of its adjustments
    "assign_break": frozenset({"officer", "checker"}),
    # what one says of a break: looked into, put right, open again
    "work_breaks": frozenset({"officer", "checker", "finance"}),
    # what goes out to platforms, core banking, gateways; sending it again and passing over what is dead
    "see_deliveries": _DESK | {"finance", "admin"},
    "replay_deliveries": frozenset({"officer", "checker", "admin"}),
    "see_calendars": _EVERYBODY,
    "manage_users": frozenset({"admin"}),
    # logins, accesses, changes of persons, exports
    "see_audit": frozenset({"auditor", "admin"}),
    # persons with what they may do, for the review that two sign off
    "see_access_review": frozenset({"checker", "auditor", "admin"}),
    "see_permissions": _EVERYBODY,
    # one's own password, and leaving
    "own_account": _EVERYBODY,
}


def allows(role: str, permission: str) -> bool:
    """Whether a role has a permission (a key of PERMISSIONS); an unknown role has none.

    >>> allows("checker", "decide_control"), allows("admin", "see_figures")
    (True, False)
    """
    return role in PERMISSIONS[permission]
