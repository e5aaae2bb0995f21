"""`fundwatch model train | approve | reject | list | show | verify`: the credit models that score borrowers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fundwatch.commands.control import As, FromStdin
from fundwatch.commands.night import AsJson, To

ModelId = Annotated[str, typer.Argument(help="id of the model, for example SC-0123456789abcdef", metavar="ID")]
Note = Annotated[str, typer.Option(help="why, at most 500 characters")]


def register(app: typer.Typer) -> None:
    """Add the group `model`."""
    group = typer.Typer(no_args_is_help=True, help=__doc__)
    group.command("train")(train)
    group.command("approve")(approve)
    group.command("reject")(reject)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("verify")(verify)
    app.add_typer(group, name="model")


def train(
    to: To,
    truth: Annotated[Path | None, typer.Option(help="truth/pd.csv of a simulated world, to judge the model by")] = None,
    user: Annotated[str | None, typer.Option("--as", help="who trains; without it the maker is the scheduler")] = None,
    password_stdin: FromStdin = False,
    as_json: AsJson = False,
) -> None:
    """Train a scorecard on what is published up to a date and register it as a draft; a second person approves it."""
    from fundwatch import credit_models
    from fundwatch.commands.night import maybe_date
    from fundwatch.output import emit
    from fundwatch.settings import load

    settings, day = load(), maybe_date(to)
    assert day is not None
    maker = _person(user, password_stdin, "propose_control", "train a model") if user else credit_models.UNATTENDED
    emit(credit_models.train(settings, day, truth, maker), as_json, _print_trained)


def approve(model_id: ModelId, user: As, note: Note, password_stdin: FromStdin = False, as_json: AsJson = False) -> None:
    """Approve a model as a second person: nights opened from now on score with it."""
    _decide(model_id, user, True, note, password_stdin, as_json)


def reject(model_id: ModelId, user: As, note: Note, password_stdin: FromStdin = False, as_json: AsJson = False) -> None:
    """Reject a draft, or take an approved model out of use."""
    _decide(model_id, user, False, note, password_stdin, as_json)


def list_(as_json: AsJson = False) -> None:
    """All models, the newest first."""
    from fundwatch.output import emit
    from fundwatch.settings import load
    from lake.credit_models import listed

    emit({"models": [vars(state) for state in listed(load())]}, as_json, _print_list)


def show(model_id: ModelId, as_json: AsJson = False) -> None:
    """A model's card: definition of bad, counts, figures, score steps; refused when its file was edited."""
    from fundwatch.credit_models import load_registered
    from fundwatch.output import emit
    from fundwatch.settings import load
    from models import card

    artefact, state = load_registered(load(), model_id)
    shown = {**vars(state), "summary": card.summary(artefact), "steps": card.steps(artefact)}
    left_out, bands = artefact.content["left_out"], artefact.content["metrics"]["bands"]
    emit({**shown, "left_out": left_out, "bands": bands, "reasons": card.reasons(artefact)}, as_json, _print_card)


def verify(
    model_id: Annotated[str | None, typer.Argument(help="id of a model; all of them without it", metavar="ID")] = None,
    as_json: AsJson = False,
) -> None:
    """Prove artefact files: with an ID exit code 3 when that file is missing or edited, without one 10 when any file is."""
    from domain.errors import CheckFailed
    from fundwatch import credit_models
    from fundwatch.output import console, emit
    from fundwatch.settings import load

    settings = load()
    if model_id is not None:
        artefact, state = credit_models.load_registered(settings, model_id)
        result: dict[str, Any] = {"ok": True, "model_id": model_id, "sha256": artefact.sha256, "state": state.state}
        emit(result, as_json, lambda one: console.print(f"{one['model_id']} is as it was registered ({one['state']})"))
        return
    faults = credit_models.faults(settings)
    emit(
        {"ok": not faults, "faults": faults},
        as_json,
        lambda result: console.print(
            "\n".join(f"{name}: {fault}" for name, fault in result["faults"].items()) or "all models are as registered"
        ),
    )
    if faults:
        raise CheckFailed(f"{len(faults)} model files are not as registered")


def _decide(model_id: str, user: str, is_approved: bool, note: str, password_stdin: bool, as_json: bool) -> None:
    from fundwatch.credit_models import load_registered
    from fundwatch.output import emit
    from fundwatch.settings import load
    from lake.credit_models import decide, get

    settings = load()
    checker = _person(user, password_stdin, "decide_control", "decide on a model")
    if is_approved:
        # nobody approves a file that is not the one that was trained
        load_registered(settings, model_id)
    changed = decide(settings, model_id, checker, is_approved, note)
    emit({**vars(get(settings, model_id)), "skipped": not changed}, as_json, _print_decided)


def _person(name: str, password_stdin: bool, permission: str, deed: str) -> str:
    """Login name of a person, once the password proved it; BadInput when their role may not do the deed."""
    from domain.errors import BadInput
    from fundwatch.commands.control import proved
    from fundwatch.settings import load

    person = proved(load(), name, password_stdin)
    if not person.may(permission):
        raise BadInput(f"{name} is {person.role}, who may not {deed}")
    return person.name


def _print_trained(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    held_out, truth = result["metrics"]["held_out"], result["metrics"]["against_truth"]
    console.print(f"{result['model_id']}  {', '.join(result['features'])}", soft_wrap=True)
    console.print(f"loans        {', '.join(f'{name} {count}' for name, count in result['outcomes'].items())}")
    told = f"AUC {held_out['auc']} (95 % {held_out['auc_95']}), KS {held_out['ks']}, ECE {held_out['ece']}"
    console.print(f"held out     {told} ({result['metrics']['estimate']})", markup=False, soft_wrap=True)
    if truth:
        told = f"AUC {truth['auc']} of {truth['oracle_auc']}, KS {truth['ks']} of {truth['oracle_ks']}, ECE {truth['ece']}"
        console.print(f"truth        {told}, rank correlation {truth['rank_correlation']}", soft_wrap=True)
    console.print(
        f"draft of {result['maker']}: a second person runs `fundwatch model approve {result['model_id']}`", soft_wrap=True
    )


def _print_decided(result: dict[str, Any]) -> None:
    from fundwatch.output import console

    was = " (it was already)" if result["skipped"] else ""
    console.print(f"{result['model_id']} of {result['maker']}: {result['state']} by {result['checker']}{was}", soft_wrap=True)


def _print_list(result: dict[str, Any]) -> None:
    from rich.table import Table

    from fundwatch.output import console

    table = Table()
    for column in ("model", "trained to", "AUC", "KS", "maker", "state", "checker"):
        table.add_column(column, no_wrap=True)
    table.add_column("note")
    for one in result["models"]:
        held_out = one["metrics"]["held_out"]
        figures = (f"{held_out['auc']:.3f}", f"{held_out['ks']:.3f}")
        cells = (one["model_id"], one["trained_to"], *figures, one["maker"], one["state"])
        table.add_row(*(str(cell) for cell in cells), one["checker"] or "", one["note"] or "")
    console.print(table)


def _print_card(result: dict[str, Any]) -> None:
    from rich.table import Table

    from fundwatch.output import console

    decided = f" by {result['checker']}: {result['note']}" if result["checker"] else ""
    console.print(f"{result['state']}{decided}; made by {result['maker']}", markup=False, soft_wrap=True)
    for name, value in result["summary"]:
        console.print(f"{name:<20} {value}", markup=False, soft_wrap=True)
    steps = Table("feature", "bin", title="score steps", title_justify="left")
    for column in ("good", "bad", "WoE", "points"):
        steps.add_column(column, justify="right")
    for one in result["steps"]:
        name = one["bin"] + (" (neutral)" if one["policy"] == "NEUTRAL" else "")
        steps.add_row(one["feature"], name, str(one["good"]), str(one["bad"]), f"{one['woe']:.4f}", str(one["points"]))
    console.print(steps)
    bands = Table("band", "rows", "mean PD", "bad rate", title="held-out rows by band", title_justify="left")
    for one in result["bands"]:
        bands.add_row(one["band"], str(one["rows"]), f"{one['mean_pd']:.4f}", f"{one['bad_rate']:.4f}")
    console.print(bands)
    for one in result["left_out"]:
        console.print(f"left out  {one['code']}: {one['reason']}", markup=False, soft_wrap=True)
