"""Where things are and how to reach them: the one place that knows the state folder (contracts section 1)."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import time
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

from domain.errors import ServiceMissing, WrongUse

PROJECT = Path(__file__).resolve().parent.parent
DATABASE = "fundwatch"
ROLES = ("migrator", "service", "jobs", "verifier", "reader", "catalog", "web")
LIMITS = ("par30", "par90", "overdue_rate", "top10", "old_breaks")


@dataclass(frozen=True)
class Settings:
    """Everything a process needs to know about one installation; immutable, read from the environment and the home.

    For example ``load().landing_dir / "2026-08-31" / "P01"`` is where a platform's files of a date lie.
    """

    home: Path
    cache: Path
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Asia/Shanghai"))
    cutoff: time = time(23, 0)
    # an order that would take effect in a closed business date: "refuse" it, or let it take effect on the "next_day" that is open
    closed_day_rule: str = "refuse"
    night_start: time = time(1, 30)
    files_deadline: time = time(4, 0)
    night_deadline: time = time(7, 0)
    # a dropped file is taken once nothing has happened to it for so long
    drop_quiet_s: int = 5
    # for how many seconds after an event the other book's line may be missing before it is a break of the live reconciliation
    live_wait_s: int = 300
    calendar: str = "CN"
    bank_id: str = "BANK"
    bureau_id: str = "BUREAU"
    clock: str = "system"
    spark_master: str = "local[2]"
    spark_memory: str = "2g"
    # what compares the books of a night: "spark", "duckdb", or "auto": DuckDB for a night of few records on one machine
    recon_engine: str = "auto"
    # PEM files of the bank's own key for reports, instead of the one the installation makes itself
    signing_key: Path | None = None
    signing_certificate: Path | None = None
    # where browsers reach the pages through the bank's TLS proxy, such as https://fundwatch.bank.example; empty: loopback HTTP
    page_origin: str = ""
    session_idle_s: int = 30 * 60
    session_max_s: int = 10 * 60 * 60
    # memory in KiB, passes and lanes of a password's hash
    argon2: str = "m=65536,t=3,p=4"
    # adjustments above this amount need two checkers; accounts quiet for so many working days are proposed as dormant
    adjustment_second_checker_minor: int = 1_000_000
    dormancy_working_days: int = 250
    # roles that must sign in with a one-time code besides the password (`second_factor_roles = "admin,finance"`)
    second_factor_roles: tuple[str, ...] = ()
    # limits of the desk's headline figures (`limit_par30 = "0.05"` …): name of the tile → greatest value allowed
    limits: Mapping[str, Decimal] = field(default_factory=dict, hash=False)

    @property
    def landing_dir(self) -> Path:
        """Incoming files, by business date and sender."""
        return self.home / "landing"

    @property
    def drop_dir(self) -> Path:
        """Where senders put their files, one folder each."""
        return self.home / "drop"

    @property
    def sender_keys_dir(self) -> Path:
        """Public keys of senders who sign their files, ``SENDER.pem`` each."""
        return self.home / "sender_keys"

    @property
    def outbound_dir(self) -> Path:
        """Files for receivers, by receiver and business date."""
        return self.home / "outbound"

    @property
    def feed_dir(self) -> Path:
        """What was read of the supervisory feed, by platform and the file's hash; made again from landing when it is gone."""
        return self.home / "feed"

    @property
    def quarantine_dir(self) -> Path:
        """Refused files, kept as they came."""
        return self.home / "quarantine"

    @property
    def lake_dir(self) -> Path:
        """The Iceberg warehouse, when it is local."""
        return self.home / "lake"

    @property
    def lake_warehouse(self) -> str:
        """Root of the lake as a URI: `FUNDWATCH_LAKE` (``hdfs:``, ``s3a:``) or the local folder."""
        return os.environ.get("FUNDWATCH_LAKE") or self.lake_dir.as_uri()

    @property
    def manifests_dir(self) -> Path:
        """Manifests of runs, one JSON file each."""
        return self.home / "manifests"

    @property
    def reports_dir(self) -> Path:
        """Built report bundles."""
        return self.home / "reports"

    @property
    def models_dir(self) -> Path:
        """Artefacts of trained credit models, ``MODEL_ID.json`` each."""
        return self.home / "models"

    @property
    def log_dir(self) -> Path:
        """Logs of the services we start."""
        return self.home / "log"

    @property
    def jars_dir(self) -> Path:
        """Jars of Spark's extensions and of HBase, fetched at set-up."""
        return self.cache / "jars"

    @property
    def secrets_dir(self) -> Path:
        """One file a secret: `FUNDWATCH_SECRETS` (what a container engine mounts) or the home's own folder."""
        given = os.environ.get("FUNDWATCH_SECRETS")
        return Path(given) if given else self.home / "secrets"

    def secret(self, name: str) -> str:
        """Content of one secret file; ServiceMissing says that `fundwatch up` has not made it yet."""
        path = self.secrets_dir / name
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise ServiceMissing(f"{path} is missing: run `fundwatch up` first") from None
        except PermissionError:
            raise ServiceMissing(f"{path} may not be read by user {os.geteuid()}") from None

    def service_state(self, name: str) -> dict[str, object] | None:
        """What `fundwatch up` wrote of a service it started, or None."""
        path = self.home / "services" / f"{name}.json"
        if not path.exists():
            return None
        state = json.loads(path.read_text(encoding="utf-8"))
        return state if isinstance(state, dict) else None

    def service_address(self, name: str) -> tuple[str, int]:
        """Host and port of a service; ServiceMissing when it was not started."""
        state = self.service_state(name)
        if state is None:
            raise ServiceMissing(f"{name} is not running: run `fundwatch up`")
        host, _, port = str(state["address"]).rpartition(":")
        return host, int(port)

    def database_url(self, role: str, database: str = DATABASE) -> str:
        """``postgresql://`` URL of a role (one of ROLES), from `FUNDWATCH_DATABASE_URL` or the local server.

        A bank's own URL is ``postgresql://HOST:PORT/DATABASE``; user and password are put in from the role and its secret.
        """
        if role not in ROLES:
            raise WrongUse(f"unknown database role {role!r}")
        given = os.environ.get("FUNDWATCH_DATABASE_URL")
        password = quote(self.secret(f"pg_{role}"), safe="")
        if given:
            scheme, _, rest = given.partition("://")
            rest = rest.rpartition("@")[2]
            return f"{scheme}://{role}:{password}@{rest}"
        host, port = self.service_address("postgres")
        return f"postgresql://{role}:{password}@{host}:{port}/{database}"

    def hbase_address(self) -> tuple[str, int]:
        """Thrift host and port, from `FUNDWATCH_HBASE_THRIFT` (``host:port``) or the local service."""
        given = os.environ.get("FUNDWATCH_HBASE_THRIFT")
        if given:
            host, _, port = given.rpartition(":")
            return host, int(port)
        return self.service_address("hbase")

    @property
    def hbase_table_prefix(self) -> str:
        """Prefix of our HBase tables; tests set one a module."""
        return os.environ.get("FUNDWATCH_HBASE_PREFIX", "")

    @property
    def spark_remote(self) -> str | None:
        """``sc://…`` of a Connect server, or None for a classic session in this process."""
        return os.environ.get("FUNDWATCH_SPARK_REMOTE") or None

    def api_url(self) -> str:
        """Base URL of the transactional service, from `FUNDWATCH_API_URL` or the local service."""
        given = os.environ.get("FUNDWATCH_API_URL")
        if given:
            return given.rstrip("/")
        host, port = self.service_address("api")
        return f"http://{host}:{port}"


def load() -> Settings:
    """Settings of this process, from `FUNDWATCH_HOME`, `FUNDWATCH_CACHE`, `settings.toml` and the environment.

    >>> load().bank_id
    'BANK'
    """
    home = Path(os.environ.get("FUNDWATCH_HOME", ".fundwatch")).resolve()
    cache = Path(os.environ.get("FUNDWATCH_CACHE", PROJECT / ".cache")).resolve()
    stored: dict[str, str] = {}
    path = home / "settings.toml"
    if path.exists():
        stored = {key: str(value) for key, value in tomllib.loads(path.read_text(encoding="utf-8")).items()}

    def value(name: str, default: str) -> str:
        return os.environ.get(f"FUNDWATCH_{name.upper()}") or stored.get(name) or default

    return Settings(
        home=home,
        cache=cache,
        zone=ZoneInfo(value("zone", "Asia/Shanghai")),
        cutoff=time.fromisoformat(value("cutoff", "23:00")),
        closed_day_rule=_one_of("closed_day_rule", value("closed_day_rule", "refuse"), ("refuse", "next_day")),
        night_start=time.fromisoformat(value("night_start", "01:30")),
        files_deadline=time.fromisoformat(value("files_deadline", "04:00")),
        night_deadline=time.fromisoformat(value("night_deadline", "07:00")),
        drop_quiet_s=int(value("drop_quiet_s", "5")),
        live_wait_s=int(value("live_wait_s", "300")),
        adjustment_second_checker_minor=int(value("adjustment_second_checker_minor", "1000000")),
        dormancy_working_days=int(value("dormancy_working_days", "250")),
        calendar=value("calendar", "CN"),
        bank_id=value("bank_id", "BANK"),
        bureau_id=value("bureau_id", "BUREAU"),
        clock=value("clock", "system"),
        spark_master=value("spark_master", "local[2]"),
        spark_memory=value("spark_memory", "2g"),
        recon_engine=_one_of("recon_engine", value("recon_engine", "auto"), ("auto", "spark", "duckdb")),
        signing_key=Path(given).resolve() if (given := value("signing_key", "")) else None,
        signing_certificate=Path(given).resolve() if (given := value("signing_certificate", "")) else None,
        page_origin=value("page_origin", "").rstrip("/"),
        session_idle_s=int(value("session_idle_s", "1800")),
        session_max_s=int(value("session_max_s", "36000")),
        argon2=value("argon2", "m=65536,t=3,p=4"),
        second_factor_roles=tuple(role.strip() for role in value("second_factor_roles", "").split(",") if role.strip()),
        limits={name: _limit(name, given) for name in LIMITS if (given := value(f"limit_{name}", ""))},
    )


def _one_of(name: str, given: str, words: tuple[str, ...]) -> str:
    """A setting that is one of some words; WrongUse for another."""
    if given not in words:
        raise WrongUse(f"{name} is {' or '.join(words)}, not {given!r}")
    return given


def _limit(name: str, given: str) -> Decimal:
    """A limit from its text; WrongUse when it is not a number of zero or more."""
    try:
        limit = Decimal(given)
    except ArithmeticError:
        raise WrongUse(f"limit_{name} is not a number: {given!r}") from None
    if not limit.is_finite() or limit < 0:
        raise WrongUse(f"limit_{name} must be zero or more, not {given}")
    return limit
