"""The registry of credit models: a draft is nothing until a second person approves it; edited files are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import BadInput
from fundwatch import credit_models as files
from fundwatch.settings import Settings, load
from lake import credit_models as registry
from lake.credit_models import ModelRefused
from lake.steps import Run
from models.artefact import Artefact, sealed
from models.features import FEATURES
from spark_jobs.score import load_registered, models_in_use
from transactional import users

TO = date(2026, 8, 31)


@pytest.fixture
def settings(database: Any, session_home: Path) -> Settings:
    """The session's home with a database of this test; model files of other tests are gone."""
    found = load()
    for path in found.models_dir.glob("*"):
        path.unlink()
    return found


@pytest.fixture
def scorecard_of_ours(scorecard: Artefact) -> Artefact:
    """The synthetic scorecard with the names and digits of declared features."""
    names = {
        0: [code for code, one in FEATURES.items() if one.scale == 0],
        6: [code for code, one in FEATURES.items() if one.scale == 6],
    }
    content = {key: value for key, value in scorecard.content.items() if key != "model_id"}
    kept = [entry for entry in content["features"] if entry["kind"] == "NUMBER"]
    features = []
    for entry in kept:
        bins = [
            {**one, "points": scorecard.scaling.attribute_points(one["contribution"], scorecard.intercept, len(kept))}
            for one in entry["bins"]
        ]
        features.append({**entry, "code": names[entry["scale"]].pop(), "bins": bins})
    return sealed({**content, "features": features})


@pytest.fixture
def draft(settings: Settings, scorecard_of_ours: Artefact) -> Artefact:
    """A registered draft of `ann`."""
    files.write(settings, scorecard_of_ours)
    assert registry.register(
        settings, scorecard_of_ours.model_id, scorecard_of_ours.sha256, TO, scorecard_of_ours.content["metrics"], "ann"
    )
    return scorecard_of_ours


def set_clock(database: Any, at: datetime) -> None:
    with psycopg.connect(database.url("migrator")) as connection:
        connection.execute("update ledger.clock set now_at = %s", [at])


def opened_run(database: Any, run_id: int, at: datetime, known_as_of: datetime | None = None) -> Run:
    with psycopg.connect(database.url("jobs")) as connection:
        connection.execute(
            """insert into run.run
                 (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at, known_as_of)
               values (%s, %s, %s, 0, '{}', 'x', 'OPEN', %s, %s)""",
            [run_id, TO, TO, at, known_as_of],
        )
    return Run(run_id, TO, TO, None, known_as_of, 0)


def test_registering_the_same_file_again_changes_nothing_and_another_one_is_refused(settings: Settings, draft: Artefact) -> None:
    again = registry.register(settings, draft.model_id, draft.sha256, TO, draft.content["metrics"], "bob")
    assert not again and registry.get(settings, draft.model_id).maker == "ann"
    with pytest.raises(ModelRefused, match="another file"):
        registry.register(settings, draft.model_id, "0" * 64, TO, {}, "ann")
    assert [model.state for model in registry.listed(settings)] == ["DRAFT"]


@pytest.mark.parametrize("name", ["ann", "Ann", " ANN "])
def test_the_maker_cannot_approve_under_any_spelling(settings: Settings, draft: Artefact, name: str) -> None:
    with pytest.raises(ModelRefused, match="a second person decides it") as refused:
        registry.decide(settings, draft.model_id, name, True, "mine is good")
    assert refused.value.code == "OWN_MODEL" and registry.get(settings, draft.model_id).state == "DRAFT"


def test_a_decision_without_a_note_or_on_an_unknown_model_is_refused(settings: Settings, draft: Artefact) -> None:
    for note in ("", "   ", "x" * 501):
        with pytest.raises(ModelRefused, match="needs a note"):
            registry.decide(settings, draft.model_id, "ben", True, note)
    with pytest.raises(ModelRefused, match="there is no model"):
        registry.decide(settings, "SC-0000000000000000", "ben", True, "fine")
    with pytest.raises(BadInput, match="there is no model"):
        registry.get(settings, "SC-0000000000000000")


def test_the_newest_decision_counts_and_one_that_changes_nothing_is_not_written(settings: Settings, draft: Artefact) -> None:
    assert registry.decide(settings, draft.model_id, "ben", True, "figures looked at")
    assert not registry.decide(settings, draft.model_id, "cat", True, "me too")
    assert registry.get(settings, draft.model_id).checker == "ben"
    assert registry.decide(settings, draft.model_id, "cat", False, "drifts")
    assert registry.get(settings, draft.model_id).state == "REJECTED"


def test_a_night_uses_what_was_approved_when_it_was_opened_or_known_then(
    database: Any, settings: Settings, draft: Artefact
) -> None:
    noon = datetime(2026, 9, 1, 12, tzinfo=UTC)
    set_clock(database, noon)
    registry.decide(settings, draft.model_id, "ben", True, "figures looked at")
    set_clock(database, noon + timedelta(days=2))
    registry.decide(settings, draft.model_id, "cat", False, "drifts")
    hour = timedelta(hours=1)
    runs = {
        "before": opened_run(database, 1, noon - hour),
        "at": opened_run(database, 2, noon),
        "after": opened_run(database, 3, noon + hour),
        "withdrawn": opened_run(database, 4, noon + timedelta(days=3)),
        "known before": opened_run(database, 5, noon + hour, noon - hour),
        "known between": opened_run(database, 6, noon + timedelta(days=3), noon + hour),
    }
    found = {name: [one.model_id for one in registry.approved_for(settings, run)] for name, run in runs.items()}
    used = [draft.model_id]
    assert found == {"before": [], "at": used, "after": used, "withdrawn": [], "known before": [], "known between": used}


def test_of_a_date_the_newest_approval_not_trained_on_later_dates_counts() -> None:
    def approved(name: str, trained_to: date) -> registry.Approved:
        return registry.Approved(name, "", trained_to, {}, "ann", "ben", datetime(2026, 9, 1, tzinfo=UTC))

    days = [date(2026, 8, day) for day in range(1, 11)]
    newest, older = approved("new", date(2026, 8, 8)), approved("old", date(2026, 8, 3))
    uses = models_in_use([newest, older], days)
    assert [(use.model.model_id, use.first.day, use.last.day) for use in uses] == [("old", 3, 7), ("new", 8, 10)]
    assert models_in_use([], days) == [] and models_in_use([newest], days[:5]) == []


def test_rows_are_kept_as_they_were_written(database: Any, settings: Settings, draft: Artefact) -> None:
    registry.decide(settings, draft.model_id, "ben", True, "figures looked at")
    for words in ("update credit.{} set {} = 'eve'", "delete from credit.{}", "truncate credit.{} cascade"):
        for table, column in (("model", "maker"), ("model_decision", "checker")):
            with psycopg.connect(database.url("migrator")) as connection, pytest.raises(psycopg.Error) as refused:
                connection.execute(words.format(table, column))
            assert refused.value.sqlstate == "FW403"


def test_roles_may_do_only_their_part(database: Any, settings: Settings, draft: Artefact) -> None:
    decide = f"select credit.decide_model('{draft.model_id}', 'ben', true, 'x')"
    forge = """insert into credit.model_decision (model_id, decision, checker, note, decided_at)
               values ('x', 'APPROVED', 'b', 'n', now())"""
    make = "select credit.register_model('SC-0000000000000000', repeat('0', 64), '2026-08-31', '{}', 'eve')"
    forbidden = {decide: ("jobs", "reader"), make: ("service", "reader"), forge: ("jobs", "service")}
    for role, words in ((role, words) for words, roles in forbidden.items() for role in roles):
        with psycopg.connect(database.url(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(words)


def test_a_registered_file_edited_missing_or_swapped_is_refused_and_named(settings: Settings, draft: Artefact) -> None:
    registry.decide(settings, draft.model_id, "ben", True, "figures looked at")
    (approved,) = registry.approved_for(settings, _any_run(settings))
    path = settings.models_dir / f"{draft.model_id}.json"
    assert load_registered(settings, approved).text == draft.text and files.faults(settings) == {}
    content = json.loads(draft.text)
    content["features"][0]["bins"][1]["points"] += 100
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match="was edited"):
        load_registered(settings, approved)
    with pytest.raises(BadInput, match="was edited"):
        files.load_registered(settings, draft.model_id)
    path.unlink()
    with pytest.raises(BadInput, match="is missing"):
        load_registered(settings, approved)
    (settings.models_dir / "SC-1111111111111111.json").write_text("{}")
    faults = files.faults(settings)
    assert set(faults) == {draft.model_id, "SC-1111111111111111.json"} and "not registered" in faults["SC-1111111111111111.json"]
    files.write(settings, draft)
    assert load_registered(settings, approved).sha256 == draft.sha256


def test_the_command_line_asks_for_the_password_the_role_and_a_second_person(
    database: Any, settings: Settings, draft: Artefact
) -> None:
    for name, role in (("ann", "officer"), ("ben", "checker"), ("cat", "checker")):
        users.create(database.url("migrator"), name, role, f"long-Password-of-{role}-7")

    def model(*arguments: str, password: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "fundwatch.cli", "model", *arguments],
            input=password + "\n",
            text=True,
            capture_output=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    decide = ("--note", "figures looked at", "--password-stdin")
    assert model("approve", draft.model_id, "--as", "ben", *decide, password="wrong")[0] == 3
    code, told = model("approve", draft.model_id, "--as", "ann", *decide, password="long-Password-of-officer-7")
    assert code == 3 and "ann is officer, who may not decide on a model" in told
    assert registry.get(settings, draft.model_id).state == "DRAFT"
    code, told = model("approve", draft.model_id, "--as", "ben", *decide, password="long-Password-of-checker-7")
    assert code == 0 and "APPROVED by ben" in told
    assert draft.features[0].code[:8] in model("show", draft.model_id)[1] and draft.model_id in model("list")[1]
    assert model("verify")[0] == model("verify", draft.model_id)[0] == 0
    path = settings.models_dir / f"{draft.model_id}.json"
    path.write_text(draft.text.replace('"points": ', '"points": 1', 1), encoding="utf-8")
    assert (model("verify")[0], model("verify", draft.model_id)[0], model("show", draft.model_id)[0]) == (10, 3, 3)
    # what may not be approved may still be taken out of use
    assert model("reject", draft.model_id, "--as", "cat", *decide, password="long-Password-of-checker-7")[0] == 0
    assert model("approve", draft.model_id, "--as", "cat", *decide, password="long-Password-of-checker-7")[0] == 3
    assert registry.get(settings, draft.model_id).state == "REJECTED"


def test_a_model_that_asks_for_a_feature_that_is_not_declared_is_refused(settings: Settings, scorecard: Artefact) -> None:
    files.write(settings, scorecard)
    registry.register(settings, scorecard.model_id, scorecard.sha256, TO, scorecard.content["metrics"], "ann")
    registry.decide(settings, scorecard.model_id, "ben", True, "figures looked at")
    (approved,) = registry.approved_for(settings, _any_run(settings))
    with pytest.raises(BadInput, match="not declared so any more"):
        load_registered(settings, approved)


def _any_run(settings: Settings) -> Run:
    with psycopg.connect(settings.database_url("jobs")) as connection:
        connection.execute(
            """insert into run.run (run_id, first_date, last_date, ledger_no_to, packs, code_version, state, opened_at)
               values (77, %s, %s, 0, '{}', 'x', 'OPEN', ledger.clock_now())""",
            [TO, TO],
        )
    return Run(77, TO, TO, None, None, 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no rows"),
        ("platform_id,loan_no\nP01,L1\n", "true_pd"),
        ("platform_id,loan_no,true_pd\nP01,L1,1.5\n", "outside 0 to 1"),
    ],
)
def test_a_truth_file_that_is_none_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "pd.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=told):
        files.read_truth(path)
