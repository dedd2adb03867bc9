"""What a sweep leaves for people and programs: a table, results.json, pictures, and the winner as a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core import storage
from pipeline.eval.metrics import wilson
from pipeline.finetune.table import aligned
from pipeline.tracking.attach import attach
from pipeline.tune.choose import ATTENTION, Score, as_good, front, last_score, losses, winner
from pipeline.tune.figures import Drawn, draw_fields, draw_parallel
from pipeline.tune.ledger import CONTROL, Trial
from pipeline.tune.run import Swept
from pipeline.tune.space import as_text, assignments

COPIED = (
    "It goes on from the weights of another trial, which had other values: no command trains it again, the checkpoint "
    "is what there is of it"
)


@dataclass(frozen=True)
class Verdict:
    """What the rule says of the trials that have come to their end."""

    winner: Trial
    front: list[int]
    as_good: list[int]
    """Trials that cannot be told from the best in the edited classes, where attention then chooses."""
    lost: dict[int, list[str]]
    """In what a trial is worse than the control, by its number; such a trial may not win."""


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
    verdict = judge(swept, scores)
    found, best = verdict.winner, verdict.winner.number
    line = "" if found.start else command(swept, found)
    text = _text(swept, scores, verdict, line)
    drawn = Drawn([trial for trial in swept.trials if trial.number in scores], scores, swept.request.space, best)
    files = {
        "table.txt": (text + "\n").encode(),
        "results.json": (json.dumps(_results(swept, scores, verdict, line), indent=1) + "\n").encode(),
        "winner.sh": _script(swept, found, line).encode(),
    }
    if drawn.others:
        files |= {"fields.png": draw_fields(drawn), "parallel.png": draw_parallel(drawn)}
    for name, data in files.items():
        storage.publish_bytes(storage.join(out, name), data)
    metrics: dict[str, float] = {}
    for name, score in (("winner", scores[best]), ("control", scores[CONTROL])):
        shares = {group: share for group, share in score.shares.items() if share.videos}
        metrics |= {f"sweep/{name}/{group}/top1": score.percent(group) for group in shares}
        if score.heldout is not None:
            metrics[f"sweep/{name}/heldout_mse"] = score.distance
    if swept.mlflow_run_id:
        attach(swept.tracking_uri, swept.mlflow_run_id, folder=out, artifact_path="sweep", metrics=metrics)
    return Summary(text, line, found, metrics)


def scores_of(swept: Swept) -> dict[int, Score]:
    """Return the score of every trial that was validated, by number."""
    found = {trial.number: last_score(trial, swept.videos) for trial in swept.trials if trial.state != "failed"}
    return {number: score for number, score in found.items() if score is not None}


def judge(swept: Swept, scores: Mapping[int, Score]) -> Verdict:
    """Apply the rule to the trials that have come to their end; one that was stopped early is none of them."""
    finished = {trial.number: trial for trial in swept.trials if trial.state == "finished"}
    judged, margin = {number: score for number, score in scores.items() if number in finished}, swept.request.margin
    lost = {number: losses(score, judged[CONTROL], margin) for number, score in judged.items() if number != CONTROL}
    return Verdict(
        winner=finished[winner(judged, CONTROL, margin)],
        front=front(judged),
        as_good=as_good(judged, CONTROL, margin),
        lost={number: worse for number, worse in lost.items() if worse},
    )


def command(swept: Swept, trial: Trial) -> str:
    """Return a command line that trains a trial's recipe by itself."""
    target = swept.request.target
    values = target.control if trial.number == CONTROL else trial.values
    return shlex.join(["python", *target.command, *assignments(values)])


def rule(swept: Swept, control: Score) -> str:
    """Say how the winner is chosen, and by what number a scheduler stopped or exchanged trials on the way.

    Args:
        swept: the sweep.
        control: score of the control, which says what there is to judge by.
    """
    (first, *others), margin = control.groups, swept.request.margin
    costs = [f"whose {group} classes are at most {margin:g} points below the control's" for group in others]
    if control.heldout is not None:
        near = "whose attention is no farther from held-out edits (held-out mse) than the control's"
        allowed = ", ".join([f"whose {first} classes are not below the control's", *costs])
        chosen = (
            f"the lowest held-out mse among trials {allowed} and {near}, and whose {first} top-1 is as good as the "
            "highest of these: within one standard error of it"
        )
    else:
        chosen = f"the highest top-1 of {first} videos"
        if costs:
            chosen = f"the highest top-1 of the {first} classes among trials {costs[0]}"
    lines = [f"winner: {chosen}; the control takes part"]
    if swept.request.scheduler != "fifo":
        lines.append(f"on the way {swept.request.scheduler} went by one number: {_rank_words(control)}")
    return "\n".join(lines)


def _rank_words(control: Score) -> str:
    """Say what `rank_of` is."""
    first, *others = control.groups
    has_heldout = control.heldout is not None
    costly = [f"the {group} classes are lower by more than the margin" for group in others]
    costly += ["attention is farther"] * has_heldout
    number = f"{first} top-1 in percent" + (", of equals the lower held-out mse" if has_heldout else "")
    if costly:
        number += f"; 200 less, whatever was gained, where {' or '.join(costly)} than the control's at the same epoch"
    return number


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


def _text(swept: Swept, scores: Mapping[int, Score], verdict: Verdict, line: str) -> str:
    won, best = verdict.winner, verdict.winner.number
    request, groups = swept.request, scores[CONTROL].groups
    fields = [one.path for one in request.space.fields]
    has_heldout = any(score.heldout for score in scores.values())
    head = ("", *fields, *(f"{group} %" for group in groups), *(("held-out mse",) if has_heldout else ()), "epochs")
    rows = [head]
    for trial in swept.trials:
        values = [as_text(trial.values[path]) if path in trial.values else "-" for path in fields]
        score = scores.get(trial.number)
        marks = ["winner"] * (trial.number == best) + ["front"] * (trial.number in verdict.front)
        state = ", ".join(marks + ([trial.state] if trial.state != "finished" else []))
        shown = [_cell(score, group) for group in groups]
        shown += [f"{score.heldout.value:.4f}" if score and score.heldout else "-"] if has_heldout else []
        epochs = f"{trial.rungs[-1].epoch:g}" if trial.rungs else "0"
        rows.append((f"{trial.name}  {state}".rstrip(), *values, *shown, epochs))
    about = f"sweep {request.name}: {', '.join(request.space.texts())}; {request.searcher}, {request.scheduler}"
    failed = [f"{trial.name} failed: {trial.why}" for trial in swept.trials if trial.state == "failed"]
    told = "no trial beats the control" if best == CONTROL else f"trial {best} wins"
    notes = ["intervals: 95 %, Wilson; front: no other trial is better in one and as good in all"]
    notes += [*_chosen(scores[CONTROL], verdict), *failed]
    if copied := [trial.name for trial in swept.trials if trial.start]:
        notes.append(f"copied weights on the way, and show their last values: {', '.join(copied)}")
    end = [f"{told}: {_artefact(won)}", *(f"  {words}" for words in (line, note(swept, won)) if words)]
    return "\n".join(
        [about, "", aligned(rows), "", rule(swept, scores[CONTROL]), *notes, request.target.caution, "", *end]
    )


def _chosen(control: Score, verdict: Verdict) -> list[str]:
    """Say which trials the rule refused, and between which attention chose."""
    found = []
    if verdict.lost:
        words = {ATTENTION: ATTENTION} | {group: f"{group} classes" for group in control.groups if group != "all"}
        told = (f"{n} ({', '.join(words.get(w, w) for w in lost)})" for n, lost in sorted(verdict.lost.items()))
        found.append(f"worse than the control, so they may not win: trials {', '.join(told)}")
    if control.heldout is not None and len(verdict.as_good) > 1:
        names = ("control" if n == CONTROL else f"trial {n}" for n in sorted(verdict.as_good))
        found.append(f"as good in the {control.groups[0]} classes, between which attention chose: {', '.join(names)}")
    return found


def _cell(score: Score | None, group: str) -> str:
    if score is None or not score.shares[group].videos:
        return "-"
    share = score.shares[group]
    found = wilson(share.hits, share.videos)
    return f"{100 * found.value:.2f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _results(swept: Swept, scores: Mapping[int, Score], verdict: Verdict, line: str) -> dict[str, Any]:
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
    request, won = swept.request, verdict.winner
    return {
        "sweep": request.name,
        "space": request.space.texts(),
        "searcher": request.searcher,
        "scheduler": request.scheduler,
        "margin": request.margin,
        "rule": rule(swept, scores[CONTROL]),
        "winner": won.number,
        "run": won.run,
        "checkpoint": won.checkpoint,
        "front": verdict.front,
        "as_good": sorted(verdict.as_good),
        "lost": {str(number): lost for number, lost in sorted(verdict.lost.items())},
        "command": line,
        "note": note(swept, won),
        "trials": trials,
    }
