"""A model's card as plain tables: what a person reads before approving it."""

from __future__ import annotations

from typing import Any

from models.artefact import Artefact


def steps(artefact: Artefact) -> list[dict[str, Any]]:
    """The score-step table: one line a feature and bin, with training counts, WoE and points (EU 2024/358 section 4.1)."""
    return [
        {
            "feature": feature.code,
            "reason_code": feature.reason_code,
            "bin": feature.label(number),
            "good": one.good,
            "bad": one.bad,
            "woe": one.woe,
            "points": one.points,
            "policy": one.policy,
        }
        for feature in artefact.features
        for number, one in enumerate(feature.bins)
    ]


def reasons(artefact: Artefact) -> dict[str, dict[str, str]]:
    """Text of every reason code in Chinese and English."""
    return {feature.reason_code: dict(feature.text) for feature in artefact.features}


def summary(artefact: Artefact) -> list[tuple[str, str]]:
    """Name and value of what matters most: definition, data, split, figures on held-out rows and against the truth."""
    content = artefact.content
    training, metrics, bad = content["training"], content["metrics"], content["definition_of_bad"]
    held_out, truth = metrics["held_out"], metrics["against_truth"]
    counts = ", ".join(f"{name} {count}" for name, count in training["outcomes"].items())
    lines = [
        ("model", artefact.model_id),
        ("bad", f"at least {bad['bad_dpd']} days past due (borrower) within {bad['months']} months after disbursement"),
        ("trained to", training["trained_to"]),
        ("disbursed", f"{training['first_disbursed_on']} to {training['last_disbursed_on']}"),
        ("loans", counts),
        ("fitted on", f"{training['fitted']['goods']} good, {training['fitted']['bads']} bad"),
        ("judged", f"{metrics['estimate']} on {held_out['rows']} loans, {held_out['bads']} bad"),
        ("AUC", f"{held_out['auc']} (95 % {held_out['auc_95']})"),
        ("KS", str(held_out["ks"])),
        ("Brier · log-loss", f"{held_out['brier']} · {held_out['log_loss']}"),
        ("calibration", f"ECE {held_out['ece']}, Hosmer-Lemeshow p {held_out['hosmer_lemeshow_p']}"),
        ("mean PD · bad rate", f"{held_out['mean_pd']} · {held_out['bad_rate']}"),
    ]
    if truth:
        oracle = metrics["oracle_against_outcomes"]
        lines += [
            ("against the truth", f"AUC {truth['auc']}, KS {truth['ks']}"),
            ("oracle, truth", f"AUC {truth['oracle_auc']}, KS {truth['oracle_ks']}: what the truth itself reaches"),
            ("", f"rank correlation {truth['rank_correlation']}, ECE {truth['ece']}, on {truth['rows']} loans"),
            ("oracle, outcomes", f"AUC {oracle['auc']}, KS {oracle['ks']}"),
        ]
    gates = ", ".join(f"{name} {_told(gate['ok'])}" for name, gate in metrics["gates"].items())
    return [*lines, ("gates (spec 06 6.5)", gates), ("data", f"sha256 {training['data_sha256']}")]


def _told(ok: bool | None) -> str:
    return "not judged" if ok is None else "passed" if ok else "FAILED"
