"""What tests of reports share: a worked example as a run publishes it, a signer, and one bundle built of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from domain.buckets import bucket_of
from domain.packs import Pack
from lake.tables import TABLES
from reports import signing
from reports.bundle import build
from reports.published import Publication
from reports.rederive import evidence_rows, rederive
from reports.signing import Signer

D = date(2026, 8, 31)
PERIOD = "2026-08"


def loan(
    loan_no: str, borrower: str, disbursed: int, op: int, oi: int, ovd: tuple[int, int], ld: int, bd: int, comp: int = 0
) -> dict[str, Any]:
    """A row of `loan_snapshot`; amounts in minor units."""
    row = dict.fromkeys(TABLES["loan_snapshot"].columns)
    amounts = {"outstanding_principal_minor": op, "outstanding_interest_minor": oi, "disbursed_minor": disbursed}
    late = {"overdue_principal_minor": ovd[0], "overdue_interest_minor": ovd[1], "lender_dpd": ld, "borrower_dpd": bd}
    buckets = {"lender_bucket": bucket_of(ld).name, "borrower_bucket": bucket_of(bd).name}
    who = {"loan_no": loan_no, "borrower_ref": borrower, "borrower_customer_no": "P01-C000001", "currency": "CNY"}
    paid = {"compensated_minor": comp, "compensated_issue_count": int(comp > 0), "disbursed_on": date(2026, 1, 5)}
    return {**row, "business_date": D, "run_id": 7, "platform_id": "P01", **who, **amounts, **late, **buckets, **paid}


def claim(claim_no: str, loan_no: str, lender: str, minor: int, is_open: bool = True) -> dict[str, Any]:
    """A row of `claim_snapshot`."""
    who = {"claim_no": claim_no, "loan_no": loan_no, "lender_customer_no": "P01-C000002", "lender_ref": lender, "currency": "CNY"}
    amounts = {"principal_minor": minor, "outstanding_principal_minor": minor, "is_open": is_open}
    return {"business_date": D, "run_id": 7, "platform_id": "P01", **who, **amounts}


@dataclass
class ReportCase:
    """The worked example of spec 11 as a published run has it; `rows` is what a build reads."""

    signer: Signer
    pack: Pack = field(default_factory=lambda: Pack.of("CN_2017"))
    source: Publication = field(
        default_factory=lambda: Publication("P01", D, 1, 7, datetime(2026, 9, 1, 1, 30, tzinfo=UTC), 1234, "0.1.0")
    )
    loans: list[dict[str, Any]] = field(
        default_factory=lambda: [
            loan("L2", "b2", 100_000, 100_000, 5_000, (100_000, 5_000), 122, 122),
            loan("L1", "b1", 120_000, 70_000, 700, (20_000, 200), 57, 87, comp=10_100),
            loan("L3", "b1", 50_000, 50_000, 2_500, (0, 0), 0, 0),
        ]
    )
    claims: list[dict[str, Any]] = field(
        default_factory=lambda: [
            claim("C1", "L1", "l1", 70_000),
            claim("C2", "L2", "l1", 100_000),
            claim("C3", "L3", "l2", 50_000),
            claim("C4", "L1", "l3", 0, False),
        ]
    )

    def indicators(self) -> list[dict[str, Any]]:
        """Rows of table `indicator` as the night writes them, from the independent second way."""
        as_text = [
            [{k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in row.items()} for row in rows]
            for rows in (self.loans, self.claims)
        ]
        return [
            {
                "pack_id": "CN_2017",
                "code": code,
                "definition_version": "1",
                "currency": currency,
                "evidence_rows": evidence_rows(as_text[0], as_text[1], currency)[code],
                "value": None if fraction.value is None else Decimal(fraction.value),
                "numerator": fraction.numerator,
                "denominator": fraction.denominator,
            }
            for currency in sorted({row["currency"] for row in self.loans})
            for code, fraction in rederive(as_text[0], as_text[1], currency).items()
        ]

    def rows(self, table: str) -> Iterator[dict[str, Any]]:
        """What a build reads of the lake."""
        known = {"loan_snapshot": self.loans, "claim_snapshot": self.claims}
        yield from known[table] if table in known else self.indicators()

    def build(self, root: Path, signer: Signer | None = None, rows: Callable[[str], Any] | None = None) -> tuple[Path, bool]:
        """Build the bundle of the case below `root`."""
        return build(self.pack, self.source, PERIOD, rows or self.rows, root, signer or self.signer)


def new_signer(name: str = "BANK") -> Signer:
    """A signer with a key of its own."""
    key = rsa.generate_private_key(65537, signing.KEY_BITS)
    return Signer(key, signing._own_certificate(key, name))


def reseal(bundle: Path, signer: Signer) -> None:
    """What a forger who holds the key would do: make every hash and the signature right again."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    for entry in manifest["files"]:
        content = (bundle / entry["path"]).read_bytes()
        entry["size"], entry["sha256"] = len(content), sha256(content).hexdigest()
    content = json.dumps(manifest).encode()
    (bundle / "manifest.json").write_bytes(content)
    (bundle / "manifest.json.sig").write_bytes(signer.sign(content))


@pytest.fixture(scope="session")
def signer() -> Signer:
    return new_signer()


@pytest.fixture(scope="session")
def other_signer() -> Signer:
    return new_signer("OTHER")


@pytest.fixture
def case(signer: Signer) -> ReportCase:
    return ReportCase(signer)


@pytest.fixture
def seal_again(signer: Signer) -> Callable[[Path], None]:
    return lambda bundle: reseal(bundle, signer)


@pytest.fixture(scope="session")
def built(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle of the worked example; not to be changed."""
    folder, is_new = ReportCase(signer).build(tmp_path_factory.mktemp("reports"))
    assert is_new
    return folder


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy of the built bundle, in the same place below `tmp_path`."""
    folder = tmp_path / built.relative_to(built.parents[3])
    shutil.copytree(built, folder)
    return folder
