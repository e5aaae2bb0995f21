"""What makes a JSON object a model: its structure by JSON Schema, and arithmetic that must hold within it."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from domain.errors import BadInput
from models.scaling import Scaling, woe

if TYPE_CHECKING:
    from models.artefact import Artefact, Feature

MAX_LOG_ODDS = 500.0
"""Beyond it exp() of one engine may overflow where another's gives infinity."""


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json_schema())


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an artefact."""
    schema: dict[str, Any] = json.loads((resources.files("models") / "artefact.schema.json").read_text(encoding="utf-8"))
    return schema


def structure(content: Any) -> None:
    """BadInput names the first place that the schema does not allow."""
    error = next(iter(sorted(_validator().iter_errors(content), key=lambda one: [str(part) for part in one.absolute_path])), None)
    if error is not None:
        place = "/".join(str(part) for part in error.absolute_path) or "the whole"
        raise BadInput(f"the model artefact does not follow its schema at {place}: {error.message[:200]}")


def arithmetic(artefact: Artefact) -> None:
    """BadInput names the first number that does not follow from the others."""
    scaling = artefact.scaling
    _same(artefact.content["scaling"]["factor"], scaling.factor, "factor")
    _same(artefact.content["scaling"]["offset"], scaling.offset, "offset")
    _bands(artefact)
    codes = [feature.code for feature in artefact.features]
    reasons = [feature.reason_code for feature in artefact.features]
    if len(set(codes)) != len(codes) or len(set(reasons)) != len(reasons):
        raise BadInput("the model artefact names a feature or a reason twice")
    fitted = artefact.content["training"]["fitted"]
    for feature in artefact.features:
        _shape(feature)
        _evidence(feature, fitted["goods"], fitted["bads"])
        _points(feature, scaling, artefact.intercept, len(codes))
    reach = abs(artefact.intercept) + sum(max(abs(one.contribution) for one in f.bins) for f in artefact.features)
    if reach > MAX_LOG_ODDS:
        raise BadInput(f"the model artefact reaches log-odds of {reach:.0f}: more than {MAX_LOG_ODDS:.0f} are no probability")


def _bands(artefact: Artefact) -> None:
    least = [points for _, points in artefact.bands]
    rising = all(isinstance(points, int) for points in least[:-1]) and least[-1] is None
    if not rising or any(upper <= lower for upper, lower in pairwise(points for points in least if points is not None)):
        raise BadInput("the bands of the model artefact do not fall")


def _shape(feature: Feature) -> None:
    """Edges rise and have no more digits than the feature; there is one bin a range or group, one for missing, one for others."""
    if any(low >= high for low, high in pairwise(feature.edges)):
        raise BadInput(f"the edges of {feature.code} do not rise")
    if any(-int(edge.as_tuple().exponent) > feature.scale for edge in feature.edges):
        raise BadInput(f"an edge of {feature.code} has more than {feature.scale} digits after the point")
    grouped = [code for group in feature.groups for code in group]
    if len(set(grouped)) != len(grouped):
        raise BadInput(f"a code of {feature.code} is in two groups")
    is_number = feature.kind == "NUMBER"
    if feature.groups if is_number else feature.edges:
        raise BadInput(f"{feature.code} has both edges and groups")
    wanted = len(feature.edges) + 2 if is_number else len(feature.groups) + 2
    if len(feature.bins) != wanted:
        raise BadInput(f"{feature.code} has {len(feature.bins)} bins, not {wanted}")


def _evidence(feature: Feature, goods: int, bads: int) -> None:
    """Counts add up to those fitted; WoE follows from them and is 0 in a neutral bin."""
    if (sum(one.good for one in feature.bins), sum(one.bad for one in feature.bins)) != (goods, bads):
        raise BadInput(f"the counts of {feature.code} do not add up to {goods} goods and {bads} bads")
    scored = sum(one.policy == "SCORED" for one in feature.bins)
    for number, one in enumerate(feature.bins):
        wanted = woe(one.good, one.bad, goods, bads, scored) if one.policy == "SCORED" else 0.0
        _same(one.woe, wanted, f"WoE of bin {number} of {feature.code}")


def _points(feature: Feature, scaling: Scaling, intercept: float, features: int) -> None:
    """Contribution is coefficient times WoE; points follow from it."""
    if feature.coefficient <= 0:
        raise BadInput(f"the coefficient of {feature.code} has the wrong sign: {feature.coefficient}")
    for number, one in enumerate(feature.bins):
        if one.contribution != feature.coefficient * one.woe:
            raise BadInput(f"bin {number} of {feature.code} does not contribute its coefficient times its WoE")
        wanted = scaling.attribute_points(one.contribution, intercept, features)
        if one.points != wanted:
            raise BadInput(f"bin {number} of {feature.code} has {one.points} points, and its coefficient gives {wanted}")


def _same(found: float, wanted: float, what: str) -> None:
    """Equal up to the last digits, in which mathematical libraries differ."""
    if not math.isclose(found, wanted, rel_tol=1e-11, abs_tol=1e-11):
        raise BadInput(f"the {what} of the model artefact is {found}, and its other numbers give {wanted}")
