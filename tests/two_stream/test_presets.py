"""The recipes of two-stream systems are the thesis's procedures and rows, and fit what they are trained on."""

import inspect

import pytest

from jobs.cli import all_recipes, guarded
from jobs.train_two_stream import main
from pipeline.core.config import from_dict, to_dict
from pipeline.two_stream import presets
from pipeline.two_stream.recipe import SystemExpected, TwoStreamRecipe, stream_config
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.stages import stages

ROWS = {
    "two_stream_hmdb51": (55.03, 63.9, 71.2),
    "plain_two_stream_hmdb51": (40.5, 54.6, 59.4),
    "tsn_hmdb51": (55.0, 63.0, 68.5),
    "two_stream_ucf101": (None, None, 92.7),
    "plain_two_stream_ucf101": (None, None, 88.0),
    "tsn_ucf101": (None, None, 94.0),
}
"""S3's tables 4.1 and 4.2: spatial, temporal, fusion."""


@pytest.mark.parametrize("name", sorted(all_recipes(TwoStreamRecipe)))
def test_a_recipe_carries_its_name_and_says_command_cost_and_expectation(name):
    function = all_recipes(TwoStreamRecipe)[name]
    recipe = function()
    assert recipe.name == name
    assert from_dict(TwoStreamRecipe, to_dict(recipe)) == recipe
    assert all(f"{word}:" in inspect.getdoc(function) for word in ("Command", "Cost", "Expect"))
    assert len(stages(recipe)) >= 2


@pytest.mark.parametrize("name", sorted(ROWS))
def test_expectations_are_the_thesiss_rows(name):
    expected = all_recipes(TwoStreamRecipe)[name]().expected
    assert (expected.spatial, expected.temporal, expected.fused) == ROWS[name]
    assert expected.source.startswith("S3 table 4.1" if "hmdb" in name else "S3 table 4.2")


def test_the_thesiss_procedure():
    recipe = presets.cross_attention("x", 51, SystemExpected())
    assert [r.epochs for r in recipe.rounds] == [300, 150]
    for stream, channels, scales, clip in zip(STREAMS, (4, 21), (4, 3), (40.0, 20.0), strict=True):
        part = getattr(recipe, stream)
        assert stream_config(recipe, stream).in_channels == channels
        assert (len(part.augment.scales), part.augment.flip, part.augment.crop) == (scales, 0.5, "multiscale_corner")
        optim = part.optim
        assert (optim.name, optim.lr, optim.momentum, optim.weight_decay) == ("sgd", 1e-3, 0.9, 5e-4)
        assert (optim.milestones, optim.clip_norm, part.init.source) == ((30.0, 250.0), clip, "imagenet")
    attention = recipe.attention
    assert (attention.optim.name, attention.optim.lr, attention.share, attention.source) == ("adam", 1e-3, 0.8, "first")


def test_algorithm_1_is_rounds_of_one_epoch():
    recipe = presets.alternating("x", 51, SystemExpected())
    assert {r.epochs for r in recipe.rounds} == {1}
    assert (len(recipe.rounds), recipe.order, recipe.attention.source) == (300, "alternating", "last")


def test_the_baselines_differ_in_what_makes_them_baselines():
    plain, tsn = (make("x", 51, SystemExpected()) for make in (presets.plain_two_stream, presets.tsn))
    assert [stream_config(plain, stream).in_channels for stream in STREAMS] == [3, 20]
    assert [stream_config(tsn, stream).in_channels for stream in STREAMS] == [3, 10]
    assert (tsn.network.segments, tsn.network.partial_bn) == (3, True)
    assert (tsn.spatial.dropout, tsn.temporal.dropout) == (0.8, 0.7)
    assert {len(stages(one)) for one in (plain, tsn)} == {2}


def test_the_job_describes_a_system_and_its_stages(capsys):
    assert main(["two_stream_demo", "--describe", "spatial.optim.lr=0.5"]) == 0
    text = capsys.readouterr().out
    assert "spatial.optim.lr = 0.5" in text
    assert "stages: r1-spatial, r1-spatial-maps, r1-temporal" in text


def test_what_a_person_does_wrong_is_one_line(capsys):
    assert guarded(main, ["two_stream_ucf"]) == 2
    assert "did you mean two_stream_ucf101?" in capsys.readouterr().err
    assert guarded(main, ["two_stream_demo"]) == 2
    assert "No data set was given" in capsys.readouterr().err
    assert guarded(main, ["two_stream_demo", "--data", "/nowhere"]) == 2
    assert "There is no prepared data set" in capsys.readouterr().err
