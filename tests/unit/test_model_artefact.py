"""The artefact: a round trip that loses nothing, and no edited file that passes for a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from domain.errors import BadInput
from models import card
from models.artefact import Artefact, canonical, load, model_id_of, parse
from models.sample import Sample
from models.score import bin_of, score


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Path of every value that is no list or object."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    if isinstance(node, dict | list):
        for key, value in entries:
            yield from leaves(value, (*path, key))
    else:
        yield path


def changed(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return value + "0"


def at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


def edited(artefact: Artefact, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    content = deepcopy(dict(artefact.content))
    at(content, path[:-1])[path[-1]] = value
    return content


def renamed(content: dict[str, Any]) -> str:
    """The text of a content whose id an attacker has computed anew."""
    return canonical({**content, "model_id": model_id_of(content)})


def test_a_file_read_back_is_the_same_model_and_scores_the_same(
    scorecard: Artefact, loans_of_a_known_world: Callable[..., Sample], tmp_path: Path
) -> None:
    path = tmp_path / f"{scorecard.model_id}.json"
    path.write_bytes(scorecard.text.encode())
    again = load(path, scorecard.sha256)
    assert again.text == scorecard.text and again.features == scorecard.features
    assert sha256(path.read_bytes()).hexdigest() == again.sha256
    sample = loans_of_a_known_world(200, 3)
    for row in range(len(sample)):
        values = {code: column[row] for code, column in sample.columns.items()}
        assert score(again, values) == score(scorecard, values)


def test_any_single_value_changed_is_refused(scorecard: Artefact) -> None:
    paths = list(leaves(scorecard.content))
    assert len(paths) > 200
    for path in paths:
        content = edited(scorecard, path, changed(at(scorecard.content, path)))
        with pytest.raises(BadInput):
            parse(canonical(content))


def test_an_editor_who_names_the_model_anew_is_refused_by_the_registry_and_mostly_by_the_arithmetic(scorecard: Artefact) -> None:
    for path in [path for path in leaves(scorecard.content) if path != ("model_id",)][::7]:
        content = edited(scorecard, path, changed(at(scorecard.content, path)))
        with pytest.raises(BadInput):
            parse(renamed(content), scorecard.sha256)
    for path in (
        ("features", 0, "bins", 1, "points"),
        ("features", 0, "bins", 1, "woe"),
        ("features", 0, "bins", 1, "contribution"),
        ("features", 0, "bins", 1, "good"),
        ("features", 0, "coefficient"),
        ("intercept",),
        ("scaling", "factor"),
        ("scaling", "offset"),
        ("scaling", "pdo"),
        ("training", "fitted", "bads"),
    ):
        with pytest.raises(BadInput):
            parse(renamed(edited(scorecard, path, at(scorecard.content, path) + 1)))


def test_edges_that_do_not_rise_or_have_too_many_digits_are_refused(scorecard: Artefact) -> None:
    place = next(number for number, feature in enumerate(scorecard.features) if len(feature.edges) > 1)
    edges = scorecard.content["features"][place]["edges"]
    with pytest.raises(BadInput, match="do not rise"):
        parse(renamed(edited(scorecard, ("features", place, "edges"), edges[::-1])))
    whole = next(number for number, feature in enumerate(scorecard.features) if feature.edges and feature.scale == 0)
    edges = [edge + ".5" for edge in scorecard.content["features"][whole]["edges"]]
    with pytest.raises(BadInput, match="more than 0 digits"):
        parse(renamed(edited(scorecard, ("features", whole, "edges"), edges)))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: text[:-200], "not JSON"),
        (lambda text: "[]\n", "no JSON object"),
        (lambda text: text + " ", "was edited"),
        (lambda text: text.replace('"intercept": ', '"intercept": 1.0,\n "intercept": '), "was edited"),
        (lambda text: text.replace(": 600", ": NaN"), "not JSON|edited"),
    ],
)
def test_a_damaged_text_is_told_in_one_sentence(scorecard: Artefact, spoil: Callable[[str], str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        parse(spoil(scorecard.text))


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("schema",), "fundwatch.scorecard/2", "at schema"),
        (("features",), [], "at features"),
        (("features", 0, "code"), "x'; drop table score", "at features/0/code"),
        (("features", 0, "bins", 0, "points"), 1.5, "at features/0/bins/0/points"),
        (("bands", 0, "least_points"), 0, "bands"),
        (("training", "trained_to"), "yesterday", "at training/trained_to"),
    ],
)
def test_what_the_schema_does_not_allow_is_named_by_its_place(
    scorecard: Artefact, path: tuple[Any, ...], value: Any, told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        parse(renamed(edited(scorecard, path, value)))


def test_a_file_that_is_missing_misnamed_or_no_text_is_refused(scorecard: Artefact, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is missing"):
        load(tmp_path / "SC-0000000000000000.json")
    path = tmp_path / "SC-0000000000000000.json"
    path.write_text(scorecard.text)
    with pytest.raises(BadInput, match="holds model"):
        load(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="not UTF-8"):
        load(path)


def test_an_edge_belongs_to_the_range_that_begins_at_it_and_numbers_beyond_fall_into_the_ends(scorecard: Artefact) -> None:
    for feature in scorecard.features:
        for number, edge in enumerate(feature.edges, start=1):
            step = Decimal(1).scaleb(-feature.scale)
            assert (bin_of(feature, edge - step), bin_of(feature, edge)) == (number, number + 1)
        if feature.edges:
            assert (bin_of(feature, -(10**30)), bin_of(feature, 10**30)) == (1, len(feature.bins) - 1)
        assert bin_of(feature, None) == 0


def test_a_value_of_the_wrong_kind_or_a_feature_that_is_not_there_is_refused(scorecard: Artefact) -> None:
    values: dict[str, Any] = {feature.code: None for feature in scorecard.features}
    number = next(feature.code for feature in scorecard.features if feature.kind == "NUMBER")
    for wrong in (1.5, "7", True, Decimal("NaN")):
        with pytest.raises(BadInput, match="is a NUMBER"):
            score(scorecard, {**values, number: wrong})
    with pytest.raises(BadInput, match="is not there"):
        score(scorecard, {})


def test_reasons_are_the_features_that_lost_most_points_and_their_texts_are_known_in_both_languages(scorecard: Artefact) -> None:
    found = score(scorecard, {feature.code: None for feature in scorecard.features})
    lost = {f.reason_code: f.max_points - f.bins[found.bins[f.code]].points for f in scorecard.features}
    assert [lost[code] for code in found.reasons] == sorted((one for one in lost.values() if one > 0), reverse=True)[:4]
    texts = card.reasons(scorecard)
    assert all(texts[code]["zh"] and texts[code]["en"] for code in found.reasons)


def test_the_card_shows_every_score_step_and_what_it_was_judged_by(scorecard: Artefact) -> None:
    steps = card.steps(scorecard)
    assert len(steps) == sum(len(feature.bins) for feature in scorecard.features)
    summary = dict(card.summary(scorecard))
    assert "60 days" in summary["bad"] and "OUT_OF_TIME" in summary["judged"]
    assert json.dumps(steps) and summary["AUC"].startswith(str(scorecard.content["metrics"]["held_out"]["auc"]))
