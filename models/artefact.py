"""The fitted model as one versioned JSON file: the only source of every way of scoring (architecture section 8, law 2).

The text is canonical and the model's id is a hash of it, so a file that anybody has touched is no longer a model. Edges are exact
decimal texts, coefficients the shortest texts that give the same doubles back. Bins are counted from 0: bin 0 is *missing*,
1 … k are the ranges (or groups of codes) in order, and for codes the last one is for codes that training never saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from domain.errors import BadInput
from models import checks
from models.scaling import Scaling

SCHEMA = "fundwatch.scorecard/1"
SCORED, NEUTRAL = "SCORED", "NEUTRAL"
NUMBER, CODE = "NUMBER", "CODE"


@dataclass(frozen=True)
class Bin:
    """One bin: training counts, WoE, coefficient times WoE, whole points; NEUTRAL bins had too few rows and have WoE 0."""

    good: int
    bad: int
    woe: float
    contribution: float
    points: int
    policy: str


@dataclass(frozen=True)
class Feature:
    """One feature of the model; a NUMBER has rising edges (a range begins at its edge), a CODE groups of codes."""

    code: str
    kind: str
    scale: int
    reason_code: str
    text: Mapping[str, str]
    coefficient: float
    edges: tuple[Decimal, ...]
    groups: tuple[tuple[str, ...], ...]
    bins: tuple[Bin, ...]

    @property
    def max_points(self) -> int:
        """Most points the feature can give."""
        return max(one.points for one in self.bins)

    def label(self, number: int) -> str:
        """What bin `number` holds, for people."""
        if number == 0:
            return "missing"
        if self.kind == CODE:
            return ", ".join(self.groups[number - 1]) if number <= len(self.groups) else "any other code"
        low = f"{self.edges[number - 2]} ≤ " if number > 1 else ""
        high = f" < {self.edges[number - 1]}" if number <= len(self.edges) else ""
        return f"{low}x{high}" if low or high else "any value"


@dataclass(frozen=True)
class Artefact:
    """A model that can score; `content` is the whole JSON object, `text` its canonical form."""

    content: Mapping[str, Any]

    @property
    def model_id(self) -> str:
        """Id derived from the content."""
        return str(self.content["model_id"])

    @property
    def trained_to(self) -> str:
        """Training date, ISO: outcomes and features known on it."""
        return str(self.content["training"]["trained_to"])

    @property
    def intercept(self) -> float:
        """Log-odds of good when every feature says nothing."""
        return float(self.content["intercept"])

    @property
    def scaling(self) -> Scaling:
        """How log-odds become points."""
        scaling = self.content["scaling"]
        return Scaling(scaling["base_points"], scaling["base_odds"], scaling["pdo"])

    @property
    def bands(self) -> tuple[tuple[str, int | None], ...]:
        """Bands from the best down, with their least points."""
        return tuple((band["band"], band["least_points"]) for band in self.content["bands"])

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """The features in the order in which everything adds them up."""
        return tuple(_feature(entry) for entry in self.content["features"])

    @property
    def text(self) -> str:
        """What the file holds."""
        return canonical(self.content)

    @property
    def sha256(self) -> str:
        """Hash of the file's bytes."""
        return sha256(self.text.encode()).hexdigest()


def canonical(content: Mapping[str, Any]) -> str:
    """The one text of a content: keys in order, one value a line, no NaN."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def sealed(content: Mapping[str, Any]) -> Artefact:
    """An artefact of a content without `model_id`: checked, and named by its hash."""
    named = {**content, "model_id": model_id_of(content)}
    return parse(canonical(named))


def model_id_of(content: Mapping[str, Any]) -> str:
    """``SC-`` and 16 hex digits of the hash of everything but the id itself."""
    rest = {key: value for key, value in content.items() if key != "model_id"}
    return f"SC-{sha256(canonical(rest).encode()).hexdigest()[:16]}"


def parse(text: str, registered_sha256: str | None = None) -> Artefact:
    """The artefact of a file's text; BadInput says what is wrong with it, in one sentence.

    It must be the canonical text of a content that the schema allows, have the id that its content gives and, where
    `registered_sha256` is given, be the registered file; edges must rise, and WoE, contributions and points must be those that
    counts, coefficients and scaling give.
    """
    try:
        content = json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise BadInput(f"the model artefact is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadInput("the model artefact is no JSON object")
    name = content.get("model_id")
    if canonical(content) != text or model_id_of(content) != name:
        raise BadInput(f"model artefact {name} was edited: its content does not give its id")
    checks.structure(content)
    artefact = Artefact(content)
    checks.arithmetic(artefact)
    if registered_sha256 is not None and artefact.sha256 != registered_sha256:
        raise BadInput(f"model artefact {name} is not the registered one: its sha256 is {artefact.sha256}")
    return artefact


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def load(path: Path, registered_sha256: str | None = None) -> Artefact:
    """`parse` a file; BadInput also when it is not there or not UTF-8."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise BadInput(f"model artefact {path.name} is missing") from None
    except UnicodeDecodeError:
        raise BadInput(f"model artefact {path.name} is not UTF-8 text") from None
    found = parse(text, registered_sha256)
    if path.stem != found.model_id:
        raise BadInput(f"model artefact {path.name} holds model {found.model_id}")
    return found


def _feature(entry: Mapping[str, Any]) -> Feature:
    return Feature(
        code=entry["code"],
        kind=entry["kind"],
        scale=entry["scale"],
        reason_code=entry["reason_code"],
        text=entry["text"],
        coefficient=float(entry["coefficient"]),
        edges=tuple(Decimal(edge) for edge in entry["edges"]),
        groups=tuple(tuple(group) for group in entry["groups"]),
        bins=tuple(
            Bin(one["good"], one["bad"], float(one["woe"]), float(one["contribution"]), one["points"], one["policy"])
            for one in entry["bins"]
        ),
    )
