"""What is reckoned with is what the networks, the recipes and the measurements say."""

import inspect
import re
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import jobs.recipes.something_v1 as v1
import jobs.recipes.something_v2 as v2
import jobs.recipes.something_v2_uniform as uniform
from jobs.recipes.hmdb51 import plain_two_stream_hmdb51, tsn_hmdb51, two_stream_alternating_hmdb51, two_stream_hmdb51
from models import build_model
from models.attention_net import AttentionNet
from models.config import ModelConfig
from pipeline.core.config import to_dict
from pipeline.reproduce.costs import CLIP_GFLOP, PAIRS_A_SECOND, PARAMETERS, STREAM_GFLOP, Cost, disk_gb
from pipeline.reproduce.official import OFFICIAL

RECIPES = (
    (v1.stabn_r50_ssv1, "ssv1"),
    (v1.baseline_r50_ssv1, "ssv1"),
    (v2.stabn_r50_ssv2, "ssv2"),
    (v2.stabn_r101_ssv2, "ssv2"),
    (v2.baseline_r50_ssv2, "ssv2"),
    (v2.baseline_r101_ssv2, "ssv2"),
    (uniform.stabn_r50_ssv2_uniform, "ssv2"),
    (uniform.baseline_r50_ssv2_uniform, "ssv2"),
)
DECISIONS = Path(__file__).parents[2] / "docs" / "decisions"


@pytest.mark.parametrize(("arch", "depth"), CLIP_GFLOP)
def test_a_clip_costs_what_the_network_computes(arch, depth):
    with torch.device("meta"):
        network, clip_BCTHW = build_model(ModelConfig(arch=arch, depth=depth)).eval(), torch.empty(1, 3, 32, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(clip_BCTHW)
    assert round(counter.get_total_flops() / 1e9) == CLIP_GFLOP[arch, depth]


@pytest.mark.parametrize(("recipe_of", "data"), RECIPES, ids=lambda value: getattr(value, "__name__", value))
def test_a_recipes_cost_is_its_epochs_of_these_clips(recipe_of, data):
    recipe = recipe_of()
    gflop = CLIP_GFLOP[recipe.model.arch, recipe.model.depth]
    flop = recipe.train.epochs * OFFICIAL[data].trained * 3 * gflop * 1e9
    assert recipe.expected.cost.startswith(f"{flop:.1e}".replace("e+", "e"))
    assert f"{OFFICIAL[data].trained:,} clips x 3 x {gflop} GFLOP" in inspect.getdoc(recipe_of)


@pytest.mark.parametrize("name", OFFICIAL)
def test_counts_are_those_in_words(name):
    official = OFFICIAL[name]
    assert f"train {official.trained:,}, " in official.splits
    assert re.search(rf"(validation|test) {official.tested:,}\b", official.splits)


def test_measured_figures_are_those_of_the_decisions():
    text = (DECISIONS / "0006-tvl1.md").read_text()
    rates = [
        float(re.search(rf"340x256  {kind} +denseflow +[\d.]+ +([\d.]+)", text)[1]) for kind in ("still", "moving")
    ]
    assert [round(rate, 1) for rate in rates] == list(PAIRS_A_SECOND)
    assert f"{STREAM_GFLOP} GFLOP for a forward pass" in (DECISIONS / "0014-two-stream-training.md").read_text()


def test_attention_nets_have_so_many_weights():
    with torch.device("meta"):
        assert sum(p.numel() for p in AttentionNet().parameters()) == PARAMETERS["attention", 0]


def test_a_round_of_one_epoch_leaves_one_checkpoint_of_each_stream():
    """Weights and momentum in 8 bytes: 3 checkpoints a stream and round, and 3 of each attention net."""
    stream, attention = 21_997_701, 9_442_817
    wanted = {
        plain_two_stream_hmdb51: 2 * 3 * stream,
        tsn_hmdb51: 2 * 3 * stream,
        two_stream_hmdb51: 2 * (2 * 3 * stream + 3 * attention),
        two_stream_alternating_hmdb51: 2 * (300 * stream + 3 * attention),
    }
    for recipe_of, weights in wanted.items():
        assert disk_gb(to_dict(recipe_of())) == pytest.approx(8 * weights / 1e9)


def test_costs_add_up_field_by_field():
    parts = Cost(training=1.0, finetuning=2.0, testing=3.0) + Cost(testing=4.0, flow_least=5.0, flow_most=6.0)
    assert parts == Cost(training=1.0, finetuning=2.0, testing=7.0, flow_least=5.0, flow_most=6.0)
    assert parts.gpu_hours == 10.0
