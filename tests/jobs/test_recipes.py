"""Every recipe is whole, says what it costs and expects, and is found by name."""

import inspect
from dataclasses import replace

import pytest
import torch

from jobs.cli import all_recipes, find_recipe, guarded, placed
from jobs.train_stabn import main
from models import build_model
from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError
from pipeline.train.recipe import Recipe

# Rows copied from the papers' tables: (frames 32 top-1, top-5), (32x2 top-1, top-5), and the measured parameter counts.
PUBLISHED = {
    "stabn_r50_ssv2": ("S0", (58.6, 85.5), (64.1, 89.6), 55_665_928),
    "stabn_r101_ssv2": ("S0", (58.0, 83.2), (65.8, 90.4), 83_570_952),
    "baseline_r50_ssv2": ("S0", (51.4, 80.1), (63.8, 89.2), 31_991_022),
    "baseline_r101_ssv2": ("S0", (57.7, 82.8), (65.3, 90.1), 59_896_046),
    "stabn_r50_ssv1": ("S1", (45.9, 75.4), (53.3, 82.0), 55_665_928),
    "baseline_r50_ssv1": ("S1", (45.2, 74.5), (52.9, 81.5), 31_991_022),
    "stabn_r50_ssv2_uniform": ("S1", (56.6, 82.0), (64.1, 89.6), 55_665_928),
    "baseline_r50_ssv2_uniform": ("S1", (55.6, 81.6), (63.8, 89.2), 31_991_022),
}


def test_the_recipes_are_these():
    demos = {"debug", "stabn_demo", "baseline_demo", "oneframe_demo", "swin_demo", "stabn_loop_demo"}
    bench = {f"{m}_{d}_bench" for m in ("stabn", "baseline") for d in ("r10", "r18", "r10_uniform")} | {
        "swin_bench",
        "stabn_r10_early_bench",
    }
    assert set(all_recipes()) == {*PUBLISHED, *demos, *bench, "stabn_swin_t_ssv2"}


@pytest.mark.parametrize("name", sorted(all_recipes()))
def test_a_recipe_carries_its_name_and_says_command_cost_and_expectation(name):
    function = find_recipe(name)
    recipe = function()
    assert recipe.name == name
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    text = inspect.getdoc(function)
    assert all(f"{word}:" in text for word in ("Command", "Cost", "Expect"))


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_recipe_is_the_published_network_and_schedule(name):
    paper, one_clip, two_clips, parameters = PUBLISHED[name]
    function = find_recipe(name)
    recipe = function()
    with torch.device("meta"):
        assert sum(p.numel() for p in build_model(recipe.model).parameters()) == parameters
    assert (recipe.expected.top1, recipe.expected.top5) == one_clip
    assert recipe.expected.source.startswith(f"{paper} table 1")
    assert f"{one_clip[0]}, top-5 {one_clip[1]} with 32 frames; {two_clips[0]}, {two_clips[1]}" in inspect.getdoc(
        function
    )
    assert (recipe.clip.frames, recipe.clip.size, recipe.clip.stride) == (32, 224, 1)
    assert recipe.clip.sampling == {"S0": "dense", "S1": "uniform"}[paper]
    o, t = recipe.optim, recipe.train
    assert (o.lr, o.reference_batch, o.momentum, o.nesterov, o.weight_decay) == (0.01, 64, 0.9, True, 5e-4)
    assert (o.schedule, o.milestones, o.gamma, o.warmup_epochs, o.clip_norm) == ("multistep", (75, 125), 0.1, 0, 20)
    assert (t.epochs, t.global_batch, recipe.model.dropout) == (150, 64, 0.5)
    assert recipe.init.source == "imagenet2d"


def test_the_transformer_is_the_published_tiny_one_and_promises_no_accuracy():
    recipe = find_recipe("stabn_swin_t_ssv2")()
    with torch.device("meta"):
        host = build_model(replace(recipe.model, arch="baseline", classes=400))
    assert sum(p.numel() for p in host.parameters()) == 28_158_070 - 3 * 4 * 4 * 96  # torchvision's, less one tap
    assert recipe.init.source == "kinetics400"
    assert (recipe.expected.source, recipe.expected.top1, recipe.expected.top5) == ("not published", None, None)
    assert (recipe.clip.frames, recipe.clip.size, recipe.model.classes) == (32, 224, 174)


def test_the_control_and_the_baseline_each_differ_from_st_abn_in_one_thing():
    control, baseline, stabn = (to_dict(find_recipe(f"{n}_demo")()) for n in ("oneframe", "baseline", "stabn"))
    assert len({values.pop("name") for values in (control, baseline, stabn)}) == 3
    assert baseline | {"model": baseline["model"] | {"arch": "st_abn"}} == stabn
    assert baseline["model"]["arch"] == "baseline"
    assert control.pop("expected") != stabn.pop("expected")
    assert control["clip"].pop("repeat_one_frame") is True
    assert stabn["clip"].pop("repeat_one_frame") is False
    assert control == stabn


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match=r"stabn_r5_ssv2.*did you mean stabn_r50_ssv2\?"):
        find_recipe("stabn_r5_ssv2")


def test_describe_prints_the_docstring_and_every_field(capsys):
    assert main(["stabn_r50_ssv2", "optim.lr=0.5", "--data", "s3://b/x", "--describe"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("ST-ABN on 3D ResNet-50.")
    for line in ("optim.lr = 0.5", "data.root = s3://b/x", "model.depth = 50", "expected.top1 = 58.6"):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], ["no such recipe", "stabn_demo"]),
        (["debug"], ["No data set was given", "--data"]),
        (["debug", "optim.lrr=1"], ["optim.lrr", "did you mean optim.lr?"]),
        (["debug", "--data", "/nowhere/at/all"], ["There is no prepared data set", "/nowhere/at/all"]),
    ],
)
def test_a_persons_mistake_is_one_line_and_status_2(arguments, words, capsys):
    assert guarded(main, arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert all(word in shown for word in words)


def test_neither_recipe_nor_repeat_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--data", "x"])
    assert stop.value.code == 2
    assert "give a recipe or --repeat" in capsys.readouterr().err


def test_a_path_is_made_absolute_and_a_uri_stays(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert placed("--data", "runs") == f"{tmp_path}/runs"
    assert placed("--data", "/d/x") == "/d/x"
    assert placed("--data", "s3://bucket/x?region=a") == "s3://bucket/x?region=a"
    assert placed("--data", "") == ""
