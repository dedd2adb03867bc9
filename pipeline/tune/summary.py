"""What a sweep leaves for people and programs: a table, results.json, pictures, and the winner as a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core import storage
from pipeline.eval.metrics import wilson
from pipeline.finetune.table import aligned
from pipeline.tracking.attach import attach
from pipeline.tune.choose import Score, front, last_score, winner
from pipeline.tune.figures import Drawn, draw_fields, draw_parallel
from pipeline.tune.ledger import CONTROL, Trial
from pipeline.tune.run import Swept
from pipeline.tune.space import as_text, assignments

COPIED = (
    "It goes on from the weights of another trial, which had other values: no command trains it again, the checkpoint "
    "is what there is of it"
)


@dataclass(frozen=True)
class Summary:
    """What a sweep says."""

    text: str
    command: str
    """Trains the winner; empty where its weights were copied on the way, so that none does."""
    winner: Trial
    metrics: Mapping[str, float]
    """Of the winner and the control, by the names that MLflow shows."""


def summarise(swept: Swept, out: str) -> Summary:
    """Choose, write every file to a folder, attach them to the sweep's MLflow run, and return what was found.

    Args:
        swept: a sweep whose trials have come to their end.
        out: folder, a path or URI.
    """
    scores = scores_of(swept)
    finished = {trial.number for trial in swept.trials if trial.state == "finished"}
    judged = {number: score for number, score in scores.items() if number in finished}
    best = winner(judged, CONTROL, swept.request.margin)
    found = next(trial for trial in swept.trials if trial.number == best)
    line = "" if found.start else command(swept, found)
    text = _text(swept, scores, front(judged), found, line)
    drawn = Drawn([trial for trial in swept.trials if trial.number in scores], scores, swept.request.space, best)
    files = {
        "table.txt": (text + "\n").encode(),
        "results.json": (json.dumps(_results(swept, scores, front(judged), found, line), indent=1) + "\n").encode(),
        "winner.sh": _script(swept, found, line).encode(),
    }
    if drawn.others:
        files |= {"fields.png": draw_fields(drawn), "parallel.png": draw_parallel(drawn)}
    for name, data in files.items():
        storage.publish_bytes(storage.join(out, name), data)
    metrics = {
        f"sweep/{name}/{group}/top1": scores[number].percent(group)
        for name, number in (("winner", best), ("control", CONTROL))
        for group, share in scores[number].shares.items()
        if share.videos
    }
    if swept.mlflow_run_id:
        attach(swept.tracking_uri, swept.mlflow_run_id, folder=out, artifact_path="sweep", metrics=metrics)
    return Summary(text, line, found, metrics)


def scores_of(swept: Swept) -> dict[int, Score]:
    """Return the score of every trial that was validated, by number."""
    found = {trial.number: last_score(trial, swept.videos) for trial in swept.trials if trial.state != "failed"}
    return {number: score for number, score in found.items() if score is not None}


def command(swept: Swept, trial: Trial) -> str:
    """Return a command line that trains a trial's recipe by itself."""
    target = swept.request.target
    values = target.control if trial.number == CONTROL else trial.values
    return shlex.join(["python", *target.command, *assignments(values)])


def rule(swept: Swept, groups: Sequence[str]) -> str:
    """Say how the winner is chosen."""
    if len(groups) == 1:
        return f"winner: the highest top-1 of {groups[0]} videos; the control takes part"
    return (
        f"winner: the highest top-1 of the {groups[0]} classes among trials whose {groups[1]} classes are at most "
        f"{swept.request.margin:g} points below the control's; the control takes part"
    )


def note(swept: Swept, trial: Trial) -> str:
    """Say how the result of the command that goes with a trial differs from the trial; empty: it does not."""
    return COPIED if trial.start else swept.request.target.command_note


def _artefact(trial: Trial) -> str:
    return f"run {trial.run}, checkpoint {trial.checkpoint or 'not recorded'}"


def _script(swept: Swept, trial: Trial, line: str) -> str:
    """Return winner.sh: the command that trains the winner, or what prints its checkpoint where there is none."""
    about = [f"# {trial.name} of sweep {swept.request.name}: {_artefact(trial)}"]
    about += [f"# {words}" for words in (note(swept, trial),) if words]
    if not line:
        about.append(f"# trained anew with its last values alone, another network: {command(swept, trial)}")
    return "\n".join(["#!/bin/sh", *about, line or shlex.join(["echo", trial.checkpoint]), ""])


def _text(swept: Swept, scores: Mapping[int, Score], pareto: Sequence[int], won: Trial, line: str) -> str:
    best = won.number
    request, groups = swept.request, scores[CONTROL].groups
    fields = [one.path for one in request.space.fields]
    has_heldout = any(score.heldout for score in scores.values())
    head = ("", *fields, *(f"{group} %" for group in groups), *(("held-out mse",) if has_heldout else ()), "epochs")
    rows = [head]
    for trial in swept.trials:
        values = [as_text(trial.values[path]) if path in trial.values else "-" for path in fields]
        score = scores.get(trial.number)
        marks = ["winner"] * (trial.number == best) + ["front"] * (trial.number in pareto)
        state = ", ".join(marks + ([trial.state] if trial.state != "finished" else []))
        shown = [_cell(score, group) for group in groups]
        shown += [f"{score.heldout.value:.4f}" if score and score.heldout else "-"] if has_heldout else []
        epochs = f"{trial.rungs[-1].epoch:g}" if trial.rungs else "0"
        rows.append((f"{trial.name}  {state}".rstrip(), *values, *shown, epochs))
    about = f"sweep {request.name}: {', '.join(request.space.texts())}; {request.searcher}, {request.scheduler}"
    failed = [f"{trial.name} failed: {trial.why}" for trial in swept.trials if trial.state == "failed"]
    told = "no trial beats the control" if best == CONTROL else f"trial {best} wins"
    notes = ["intervals: 95 %, Wilson; front: no other trial is better in one and as good in all", *failed]
    if copied := [trial.name for trial in swept.trials if trial.start]:
        notes.append(f"copied weights on the way, and show their last values: {', '.join(copied)}")
    end = [f"{told}: {_artefact(won)}", *(f"  {words}" for words in (line, note(swept, won)) if words)]
    return "\n".join([about, "", aligned(rows), "", rule(swept, groups), *notes, request.target.caution, "", *end])


def _cell(score: Score | None, group: str) -> str:
    if score is None or not score.shares[group].videos:
        return "-"
    share = score.shares[group]
    found = wilson(share.hits, share.videos)
    return f"{100 * found.value:.2f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _results(swept: Swept, scores: Mapping[int, Score], pareto: Sequence[int], won: Trial, line: str) -> dict[str, Any]:
    def numbers(score: Score) -> dict[str, Any]:
        found: dict[str, Any] = {
            group: {**asdict(share), "top1": asdict(wilson(share.hits, share.videos))}
            for group, share in score.shares.items()
            if share.videos
        }
        if score.heldout is not None:
            found["heldout_mse"] = {"videos": score.heldout_videos, **asdict(score.heldout)}
        return found

    trials = []
    for trial in swept.trials:
        plain = asdict(trial)
        trials.append({**plain, "score": numbers(scores[trial.number]) if trial.number in scores else None})
    request = swept.request
    return {
        "sweep": request.name,
        "space": request.space.texts(),
        "searcher": request.searcher,
        "scheduler": request.scheduler,
        "margin": request.margin,
        "rule": rule(swept, scores[CONTROL].groups),
        "winner": won.number,
        "run": won.run,
        "checkpoint": won.checkpoint,
        "front": list(pareto),
        "command": line,
        "note": note(swept, won),
        "trials": trials,
    }
