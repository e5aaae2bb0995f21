"""What the registry keeps as versions: one entry a subject, for its endpoint, its table and its columns (migration 0015)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from transactional import registry_bodies as bodies

VERSION_COLUMNS = ("valid_from", "version", "recorded_at", "actor")


@dataclass(frozen=True)
class Subject:
    """A table `registry.NAME` of versions; `body` None: its versions come from decisions of two people."""

    path: str
    name: str
    key: tuple[str, ...]
    body: type[msgspec.Struct] | None
    meaning: str

    @property
    def is_of_platform(self) -> bool:
        """Whether each row belongs to one platform, which may read it."""
        return "platform_id" in self.key

    @property
    def own_key(self) -> tuple[str, ...]:
        """The key within a platform."""
        return tuple(name for name in self.key if name != "platform_id")


SUBJECTS = (
    Subject("platform-terms", "platform_terms", ("platform_id",), None, "legal data, custody model and contract of a platform"),
    Subject("platform-status", "platform_status", ("platform_id",), None, "where a platform stands between joining and leaving"),
    Subject("pack-activations", "pack_activation", ("platform_id",), None, "the rule pack in force for a platform"),
    Subject("payment-company-terms", "payment_company_terms", ("paycom_id",), None, "licence, channels, settlement and fees"),
    Subject(
        "payment-mappings", "payment_mapping", ("platform_id", "paycom_id"), None, "a platform's contract with a payment company"
    ),
    Subject(
        "party-versions", "party_version", ("party_ref",), None, "masked name and telephone, country, year of birth of a party"
    ),
    Subject("customer-versions", "customer_version", ("platform_id", "customer_no"), None, "roles and KYC level of a customer"),
    Subject("customer-status", "customer_status", ("platform_id", "customer_no"), None, "ACTIVE, LOCKED or CLOSED, and why"),
    Subject("account-status", "account_status", ("platform_id", "account_no"), None, "OPEN, LOCKED or CLOSED, and why"),
    Subject(
        "white-lists", "white_list", ("platform_id", "kind", "value"), None, "merchant numbers, networks and accounts let through"
    ),
    Subject(
        "bound-cards", "bound_card", ("platform_id", "account_no", "purpose"), bodies.BoundCard, "a card bound to an account"
    ),
    Subject(
        "bank-accounts", "bank_account", ("platform_id", "customer_no"), bodies.BankAccount, "a customer's account at the bank"
    ),
    Subject(
        "redirects",
        "redirect_evidence",
        ("platform_id", "request_no"),
        bodies.RedirectEvidence,
        "a customer sent to the bank's page",
    ),
    Subject("kyc-checks", "kyc_check", ("platform_id", "check_no"), bodies.KycCheck, "the result of one identity check"),
    Subject("documents", "document_evidence", ("platform_id", "document_no"), bodies.DocumentEvidence, "a document handed in"),
    Subject("customer-events", "customer_event", ("platform_id", "event_no"), bodies.CustomerEvent, "what a customer did"),
    Subject(
        "related-parties",
        "related_party",
        ("platform_id", "party_ref", "relation", "holds_from"),
        bodies.RelatedParty,
        "a party related to the platform",
    ),
    Subject("projects", "project", ("platform_id", "project_no"), bodies.Project, "a loan request that lenders bid for"),
    Subject("project-status", "project_status", ("platform_id", "project_no"), bodies.ProjectStatus, "how far a project is"),
    Subject("complaints", "complaint", ("platform_id", "complaint_no"), bodies.Complaint, "a complaint and how far it is"),
)
