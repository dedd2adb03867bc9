"""The stages of a system: the two procedures of the thesis as lists, and what sees whose maps."""

from dataclasses import replace

import pytest

from pipeline.core.config import from_dict, override, to_dict
from pipeline.core.errors import UserError
from pipeline.train.optim import Schedule
from pipeline.two_stream.recipe import NetworkConfig, Round, TwoStreamRecipe, stream_config
from pipeline.two_stream.stages import (
    Places,
    attention_recipe,
    final_stage,
    first_stage,
    stages,
    stream_recipe,
    unaided_stage,
)

TWO_PHASES = TwoStreamRecipe(name="two")
ALTERNATING = TwoStreamRecipe(
    name="alt",
    order="alternating",
    rounds=tuple(Round(epochs=1, schedule="continue") for _ in range(3)),
    attention=replace(TWO_PHASES.attention, source="last"),
)
BASELINE = TwoStreamRecipe(name="plain", network=NetworkConfig(attention_channel=False), rounds=(Round(),))


def listed(recipe):
    return [(s.name, s.weights, s.beside or s.target) for s in stages(recipe)]


def test_two_phases():
    assert listed(TWO_PHASES) == [
        ("r1-spatial", "", ""),
        ("r1-spatial-maps", "r1-spatial", ""),
        ("r1-temporal", "", ""),
        ("r1-temporal-maps", "r1-temporal", ""),
        ("attention-spatial", "r1-spatial", "r1-spatial-maps"),
        ("attention-temporal", "r1-temporal", "r1-temporal-maps"),
        ("r2-spatial", "r1-spatial", "r1-temporal-maps"),
        ("r2-temporal", "r1-temporal", "r1-spatial-maps"),
    ]
    assert (first_stage(TWO_PHASES, "spatial"), final_stage(TWO_PHASES, "spatial")) == ("r1-spatial", "r2-spatial")


def test_algorithm_1_trains_each_stream_on_what_the_other_has_just_learnt():
    assert [entry for entry in listed(ALTERNATING) if "attention" not in entry[0]] == [
        ("r1-spatial", "", ""),
        ("r1-spatial-maps", "r1-spatial", ""),
        ("r1-temporal", "", "r1-spatial-maps"),
        ("r1-temporal-maps", "r1-temporal", "r1-spatial-maps"),
        ("r2-spatial", "r1-spatial", "r1-temporal-maps"),
        ("r2-spatial-maps", "r2-spatial", "r1-temporal-maps"),
        ("r2-temporal", "r1-temporal", "r2-spatial-maps"),
        ("r2-temporal-maps", "r2-temporal", "r2-spatial-maps"),
        ("r3-spatial", "r2-spatial", "r2-temporal-maps"),
        ("r3-spatial-maps", "r3-spatial", "r2-temporal-maps"),
        ("r3-temporal", "r2-temporal", "r3-spatial-maps"),
        ("r3-spatial-plain-maps", "r3-spatial", ""),
        ("r3-temporal-plain-maps", "r3-temporal", ""),
    ]
    assert first_stage(ALTERNATING, "temporal") == final_stage(ALTERNATING, "temporal") == "r3-temporal"


@pytest.mark.parametrize("recipe", [TWO_PHASES, ALTERNATING, replace(ALTERNATING, attention=TWO_PHASES.attention)])
def test_no_stream_sees_maps_of_its_own_and_no_attention_net_learns_those_of_the_other(recipe):
    found = stages(recipe)
    by_name = {stage.name: stage for stage in found}
    for position, stage in enumerate(found):
        needs = [name for name in (stage.weights, stage.beside, stage.target) if name]
        assert all(found.index(by_name[name]) < position for name in needs), "each after those it needs"
        if stage.beside:
            assert by_name[stage.beside].stream != stage.stream
        if stage.weights:
            assert by_name[stage.weights].stream == stage.stream


@pytest.mark.parametrize("recipe", [TWO_PHASES, ALTERNATING, replace(ALTERNATING, attention=TWO_PHASES.attention)])
def test_attention_nets_learn_from_networks_that_need_no_map(recipe):
    by_name = {stage.name: stage for stage in stages(recipe)}
    for stream in ("spatial", "temporal"):
        stage = by_name[f"attention-{stream}"]
        target = by_name[stage.target]
        assert target.beside == "" == stage.beside
        assert target.weights == stage.weights == first_stage(recipe, stream)
        assert target.stream == stream


def test_a_baseline_has_no_maps():
    assert listed(BASELINE) == [("r1-spatial", "", ""), ("r1-temporal", "", "")]
    with pytest.raises(UserError, match="These rounds make no system"):
        replace(BASELINE, rounds=())


def test_as_much_training_without_maps_is_tested_by_its_last_round():
    longer = replace(BASELINE, rounds=(Round(), Round()))
    first = [("r1-spatial", "", ""), ("r1-temporal", "", "")]
    assert listed(longer) == [*first, ("r2-spatial", "r1-spatial", ""), ("r2-temporal", "r1-temporal", "")]
    for stream in ("spatial", "temporal"):
        assert unaided_stage(longer, stream) == f"r2-{stream}"
        assert unaided_stage(BASELINE, stream) == unaided_stage(TWO_PHASES, stream) == f"r1-{stream}"


def test_a_continued_schedule_is_that_of_one_long_run():
    recipe = replace(ALTERNATING, rounds=tuple(Round(epochs=20, schedule="continue") for _ in range(3)))
    long = Schedule(recipe.spatial.optim, 64, 7, 60)
    places = Places("/runs", "x")
    rates = []
    for stage in stages(recipe):
        if stage.kind == "train" and stage.stream == "spatial":
            run = stream_recipe(recipe, stage, places, flow_root="/f", checkpoint="/c" if stage.weights else "")
            schedule = Schedule(run.optim, run.train.global_batch, 7, run.train.epochs)
            rates += [schedule.lr(step) for step in range(7 * run.train.epochs)]
    assert rates == [long.lr(step) for step in range(7 * 60)]
    assert len(set(rates)) == 2  # the milestone at epoch 30 lies in the second round
    restarted = replace(recipe, rounds=tuple(Round(epochs=20) for _ in range(3)))
    for stage in stages(restarted):
        if stage.kind == "train":
            run = stream_recipe(restarted, stage, places, flow_root="/f", checkpoint="/c" if stage.weights else "")
            assert run.optim == recipe.spatial.optim
    shorter = replace(restarted, rounds=(Round(epochs=20), Round(epochs=5)))
    last = stream_recipe(shorter, stages(shorter)[-1], places, flow_root="/f", checkpoint="/c")
    assert (last.train.epochs, last.optim.milestones) == (5, (7.5, 62.5))
    cosine = replace(recipe.spatial.optim, schedule="cosine")
    with pytest.raises(UserError, match="goes on from round to round in steps only"):
        replace(recipe, spatial=replace(recipe.spatial, optim=cosine))


def test_the_recipe_of_a_run_says_all_that_it_depends_on():
    by_name = {stage.name: stage for stage in stages(TWO_PHASES)}
    places = Places("s3://bucket/runs", "mine")
    run = stream_recipe(TWO_PHASES, by_name["r2-temporal"], places, flow_root="/flow", checkpoint="/c")
    assert run.maps_root == "s3://bucket/runs/mine-r1-spatial-maps"
    assert (run.init.source, run.init.path, run.flow_root, run.round) == ("checkpoint", "/c", "/flow", 2)
    assert (run.model, run.system) == (stream_config(TWO_PHASES, "temporal"), "mine")
    assert from_dict(type(run), to_dict(run)) == run
    net = attention_recipe(TWO_PHASES, by_name["attention-temporal"], places, flow_root="/flow", checkpoint="/c")
    assert (net.maps_root, net.optim.name) == ("s3://bucket/runs/mine-r1-temporal-maps", "adam")
    assert from_dict(type(net), to_dict(net)) == net


def test_a_recipe_survives_the_command_line():
    changed = override(TWO_PHASES, ['rounds=[{"epochs":3},{"epochs":1}]', "spatial.optim.lr=0.1", "maps.stride=5"])
    assert [r.epochs for r in changed.rounds] == [3, 1]
    assert (changed.spatial.optim.lr, changed.temporal.optim.lr, changed.maps.stride) == (0.1, 1e-3, 5)
    for wrong, words in (
        ("network.size=60", "Inception-V3 has no place left"),
        ("pair.short_side=200", "smaller than the network"),
        ("attention.share=1.0", "attention.share is a share"),
        ("maps.stride=0", "maps.stride is out of range"),
        ("rounds=[]", "These rounds make no system"),
        ('rounds=[{"epochs":0}]', "round.epochs is out of range"),
        ("spatial.augment.hue=0.1", "its colours stay"),
    ):
        with pytest.raises(UserError, match=words):
            override(TWO_PHASES, [wrong])
