"""The table, the files and the winning command of a sweep whose trials are made up."""

import json
import shlex
import subprocess
from dataclasses import replace

import pytest

from jobs.cli import guarded
from jobs.finetune_edits import main as finetune
from jobs.train_stabn import main as train_stabn
from pipeline.core.config import override
from pipeline.data.config import DataConfig
from pipeline.train.recipe import Recipe
from pipeline.tune.figures import Drawn, draw_fields, draw_parallel
from pipeline.tune.kinds import edits_target, recipe_target
from pipeline.tune.ledger import Rung, Trial
from pipeline.tune.run import Request, Swept
from pipeline.tune.space import parse
from pipeline.tune.summary import COPIED, command, scores_of, summarise

SEARCH = ("edits.gamma_t=log(0.1,100)", "optim.schedule=choice(multistep,cosine)", "optim.milestones=choice([2,4],[3])")
VALUES = [
    {},
    {"edits.gamma_t": 3.0, "optim.schedule": "cosine", "optim.milestones": [2, 4]},
    {"edits.gamma_t": 30.0, "optim.schedule": "multistep", "optim.milestones": [3]},
    {"edits.gamma_t": 90.0, "optim.schedule": "cosine", "optim.milestones": [3]},
    {"edits.gamma_t": 0.2, "optim.schedule": "cosine", "optim.milestones": [3]},
]
HITS = [(40, 180), (50, 179), (70, 120), (90, 180), (10, 180)]
STATES = ["finished", "finished", "finished", "stopped", "failed"]


@pytest.fixture
def swept(tiny_checkpoint, batch, overrides, tmp_path):
    """Trial 1 is good, 2 pays with the other classes, 3 was stopped early, 4 failed; attention comes nearer in turn."""
    target = edits_target(tiny_checkpoint, str(tmp_path), "best", [batch], overrides)
    request = Request(name="made-up", target=target, space=parse(SEARCH, target.recipe), trials=4)
    trials = []
    for number, (values, (edited, other), state) in enumerate(zip(VALUES, HITS, STATES, strict=True)):
        counts = {"edited_hits": edited, "edited_videos": 100, "other_hits": other, "other_videos": 200}
        near = {"heldout_videos": 9, "heldout_mse": 0.2 - number / 100, "heldout_sd": 0.05}
        rung = Rung(step=2, epoch=2.0, metrics=counts | near)
        why = "it did" if state == "failed" else ""
        key = f"{number:012d}"
        facts = {"state": state, "rungs": (rung,), "why": why, "checkpoint": f"/c/{number}"}
        trials.append(Trial(number=number, key=key, run=key, values=values, **facts))
    return Swept(request, str(tmp_path), tuple(trials), 300, "", "")


def test_the_winner_is_of_trials_that_ended_and_cost_the_others_little(swept, tmp_path):
    summary = summarise(swept, str(tmp_path / "out"))
    assert summary.winner.number == 1
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (results["winner"], results["front"]) == (1, [2, 1, 0])
    assert [trial["score"] is None for trial in results["trials"]] == [False] * 4 + [True]
    assert results["trials"][1]["score"]["edited"]["top1"]["value"] == 0.5
    lines = summary.text.splitlines()
    assert any(line.startswith("trial 1  winner, front") and "50.00 (40.4 to 59.6)" in line for line in lines)
    assert any(line.startswith("trial 3  stopped") for line in lines)
    assert "trial 4 failed: it did" in summary.text
    assert "at most 1 points below the control's" in summary.text
    script = (tmp_path / "out" / "winner.sh").read_text().splitlines()
    assert (script[0], script[2:]) == ("#!/bin/sh", [summary.command])
    assert script[1] == f"# trial 1 of sweep made-up: run {1:012d}, checkpoint /c/1"
    assert (results["run"], results["checkpoint"], results["note"]) == (f"{1:012d}", "/c/1", "")
    assert summary.metrics["sweep/winner/edited/top1"] == 50.0
    assert summary.metrics["sweep/winner/heldout_mse"] == pytest.approx(0.19)
    assert summary.metrics["sweep/control/heldout_mse"] == pytest.approx(0.2)
    assert "worse than the control, so they may not win: trials 2 (other classes)" in lines
    assert (results["lost"], results["as_good"]) == ({"2": ["other"]}, [1])


def with_trial(swept, number, **metrics):
    """The sweep with other metrics in the last rung of a trial."""
    old = swept.trials[number]
    rung = replace(old.rungs[-1], metrics={**old.rungs[-1].metrics, **metrics})
    trials = [replace(old, rungs=(rung,)) if trial is old else trial for trial in swept.trials]
    return replace(swept, trials=tuple(trials))


def test_attention_chooses_between_those_that_are_as_good_and_says_so(swept, tmp_path):
    """45 of 100 is one standard error below 50 of 100, which is 5."""
    near = with_trial(swept, 2, edited_hits=45, other_hits=180)
    summary = summarise(near, str(tmp_path / "near"))
    assert summary.winner.number == 2
    lines = summary.text.splitlines()
    assert "as good in the edited classes, between which attention chose: trial 1, trial 2" in lines
    (rule,) = (line for line in lines if line.startswith("winner: "))
    for words in (
        "the lowest held-out mse among trials whose edited classes are not below the control's",
        "whose other classes are at most 1 points below",
        "whose attention is no farther from held-out edits (held-out mse) than the control's",
        "within one standard error of it",
    ):
        assert words in rule
    assert json.loads((tmp_path / "near" / "results.json").read_text())["rule"] == rule
    far = with_trial(near, 2, heldout_mse=0.21)
    summary = summarise(far, str(tmp_path / "far"))
    assert summary.winner.number == 1
    assert "worse than the control, so they may not win: trials 2 (attention)" in summary.text.splitlines()


def test_the_one_number_of_a_scheduler_is_told(swept, tmp_path):
    assert "by one number" not in summarise(swept, str(tmp_path / "fifo")).text
    halved = replace(swept, request=replace(swept.request, scheduler="asha"))
    assert (
        "on the way asha went by one number: edited top-1 in percent, of equals the lower held-out mse; 200 less, "
        "whatever was gained, where the other classes are lower by more than the margin or attention is farther than "
        "the control's at the same epoch"
    ) in summarise(halved, str(tmp_path / "asha")).text.splitlines()


def test_the_winning_command_runs_and_is_the_winning_recipe(swept, tmp_path, capsys):
    words = shlex.split(summarise(swept, str(tmp_path / "out")).command)
    assert words[:2] == ["python", "jobs/finetune_edits.py"]
    assert guarded(finetune, [*words[2:], "--describe"]) == 0
    printed = capsys.readouterr().out
    recipe = swept.request.target.run_of(1, VALUES[1])
    for line in ("edits.gamma_t = 3.0", "optim.schedule = cosine", "optim.milestones = [2.0, 4.0]"):
        assert line in printed
    assert f"train.epochs = {recipe.train.epochs}" in printed
    assert f"edits.batches = {list(recipe.edits.batches)}" in printed


def test_the_controls_command_has_neither_term(tiny_checkpoint, batch, overrides, swept, tmp_path, capsys):
    """Of a sweep whose trials all have a spatial term: its control has none."""
    target = edits_target(tiny_checkpoint, str(tmp_path), "best", [batch], [*overrides, "edits.gamma_s=10"])
    swept = replace(swept, request=replace(swept.request, target=target))
    words = shlex.split(command(swept, swept.trials[0]))
    assert guarded(finetune, [*words[2:], "--describe"]) == 0
    printed = capsys.readouterr().out
    assert "edits.gamma_t = 0.0" in printed
    assert "edits.gamma_s = 0.0" in printed
    control = target.run_of(0, {})
    assert (control.edits.gamma_t, control.edits.gamma_s) == (0.0, 0.0)


def test_a_winner_with_copied_weights_is_its_checkpoint_and_no_command(swept, tmp_path):
    one = replace(swept.trials[1], start="/runs/made-up/starts/0001-0004")
    swept = replace(swept, trials=(swept.trials[0], one, *swept.trials[2:]))
    summary, out = summarise(swept, str(tmp_path / "out")), tmp_path / "out"
    assert (summary.winner.number, summary.command) == (1, "")
    script = (out / "winner.sh").read_text()
    done = subprocess.run(["sh", str(out / "winner.sh")], capture_output=True, text=True, check=True)
    assert done.stdout == "/c/1\n"
    assert f"# {COPIED}\n" in script
    assert f"values alone, another network: {command(swept, one)}\n" in script
    results = json.loads((out / "results.json").read_text())
    assert (results["command"], results["note"], results["checkpoint"]) == ("", COPIED, "/c/1")
    assert COPIED in summary.text
    assert "python jobs" not in summary.text
    assert "show their last values: trial 1" in summary.text


def test_a_recipes_winner_is_a_command_too(tmp_path, capsys):
    changed = ["train.epochs=3"]
    recipe = override(Recipe(name="stabn_demo", data=DataConfig(root=str(tmp_path / "data"))), changed)
    target = recipe_target("stabn_demo", recipe, str(tmp_path), changed)
    space = parse(["optim.lr=log(1e-5,1)", "optim.milestones=choice([1,2])"], recipe)
    rung = Rung(step=1, epoch=1.0, metrics={"top1": 50.0})
    trials = [
        Trial(number=0, key="a", run="a", values={}, state="finished", rungs=(rung,)),
        Trial(
            number=1,
            key="b",
            run="b",
            values={"optim.lr": 1e-05, "optim.milestones": [1, 2]},
            state="finished",
            rungs=(Rung(step=1, epoch=1.0, metrics={"top1": 75.0}),),
        ),
    ]
    swept = Swept(Request(name="s", target=target, space=space, trials=1), str(tmp_path), tuple(trials), 4, "", "")
    summary = summarise(swept, str(tmp_path / "out"))
    assert summary.winner.number == 1
    assert "winner: the highest top-1 of all videos; the control takes part" in summary.text.splitlines()
    assert "attention" not in summary.text
    halved = replace(swept, request=replace(swept.request, scheduler="asha"))
    told = summarise(halved, str(tmp_path / "asha")).text.splitlines()
    assert "on the way asha went by one number: all top-1 in percent" in told
    assert guarded(train_stabn, [*shlex.split(summary.command)[2:], "--describe"]) == 0
    printed = capsys.readouterr().out
    for line in ("optim.lr = 1e-05", "optim.milestones = [1.0, 2.0]", "train.epochs = 3"):
        assert line in printed


def test_pictures_are_drawn_of_any_kind_of_field(swept):
    scores = scores_of(swept)
    shown = [trial for trial in swept.trials if trial.number in scores]
    drawn = Drawn(shown, scores, swept.request.space, 1)
    assert list(drawn.results) == ["edited, top-1 %", "other, top-1 %", "held-out edits, mean squared difference"]
    for picture in (draw_fields(drawn), draw_parallel(drawn)):
        assert picture.startswith(b"\x89PNG")
    few = Drawn(shown[:2], scores, swept.request.space, 1)
    assert draw_parallel(few) != draw_parallel(drawn)
