"""What would wait for ever is refused with the sum; what fits passes."""

from dataclasses import replace

import pytest

from jobs.cli import find_recipe
from models import build_model
from models.config import ModelConfig
from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.train.clip_task import ClipTask
from pipeline.train.launch import claims_of, model_bytes
from pipeline.train.preflight import GIB, Claim, Node, check_cluster, check_disk
from pipeline.train.recipe import ComputeConfig, Recipe

TWO_CPUS = [Node(name="laptop", cpus=2)]


def recipe(**compute):
    small = Recipe(name="r", compute=ComputeConfig(**compute), model=ModelConfig(depth=10, width=8, frames=32))
    return override(small, ["train.global_batch=4"])


def claims(recipe):
    clip = recipe.clip
    return claims_of(
        recipe, weights=model_bytes(ClipTask(recipe)), sample_bytes=clip.frames * clip.size * clip.size * 3
    )


def test_two_training_processes_that_leave_nothing_for_the_feed_are_refused():
    held = claims(recipe(workers=2, cpus_per_worker=1.0, data_cpus=1.0))
    with pytest.raises(UserError) as error:
        check_cluster(held, TWO_CPUS)
    text = str(error.value)
    assert "2 x 1 (training processes) + 2 x 0.5 (feed tasks) = 3 CPUs needed" in text
    assert "at most 2 CPUs, on 1 node" in text
    assert "compute.cpus_per_worker" in text


def test_actors_that_leave_nothing_for_the_tasks_before_them_are_refused():
    claims = [Claim(what="decoding actors", count=2, cpus=1.0), Claim(what="read tasks", count=1, cpus=1.0)]
    with pytest.raises(UserError, match=r"2 x 1 \(decoding actors\) \+ 1 x 1 \(read tasks\) = 3 CPUs"):
        check_cluster(claims, TWO_CPUS)


def test_trials_that_hold_what_their_training_needs_are_refused():
    claims = [Claim(what="trial drivers", count=2, cpus=1.0), Claim(what="training processes", count=2, cpus=1.0)]
    with pytest.raises(UserError, match=r"= 4 CPUs needed at the same time\. Allowed: at most 2 CPUs"):
        check_cluster(claims, TWO_CPUS)


@pytest.mark.parametrize(
    "compute",
    [
        {"workers": 1, "data_cpus": 1.0},
        {"workers": 2, "cpus_per_worker": 0.5, "data_cpus": 1.0},
        {"workers": 2, "cpus_per_worker": 0.75, "data_cpus": 0.5},
    ],
)
def test_what_fits_passes(compute):
    check_cluster(claims(recipe(**compute)), TWO_CPUS)


def test_a_gpu_too_few_is_named():
    with pytest.raises(UserError, match=r"8 x 1 \(training processes\) = 8 GPUs.*at most 4 GPUs, on 1 node"):
        check_cluster(
            claims(find_recipe("stabn_r50_ssv2")()), [Node(name="a", cpus=128, gpus=4, memory=10**12, store=10**12)]
        )


def test_enough_in_all_but_scattered_is_refused():
    claims = [Claim(what="actors", count=2, cpus=0.5), Claim(what="read task", count=1, cpus=1.0)]
    nodes = [Node(name="a", cpus=1), Node(name="b", cpus=1)]
    check_cluster(claims, nodes)  # both actors on one node, the task on the other
    with pytest.raises(UserError, match=r"read task with 2 CPUs.*a: 1 CPUs"):
        check_cluster([claims[0], replace(claims[1], cpus=2.0)], [*nodes, Node(name="c", cpus=1)])


def test_an_object_store_too_small_for_the_clips_is_refused():
    held = claims(recipe(workers=1))
    # 4 batches ready of 4 clips, 64 clips in one task, twice; a clip is 32 x 224 x 224 x 3 bytes.
    needed = 2 * (4 * 4 + 64) * 32 * 224 * 224 * 3
    assert held[0].store == needed
    check_cluster(held, [Node(name="a", cpus=8, store=needed)])
    with pytest.raises(UserError, match="GiB of object store"):
        check_cluster(held, [Node(name="a", cpus=8, store=needed - GIB // 10)])


def test_the_size_of_a_network_is_counted_without_allocating_it():
    small = recipe().model
    module = build_model(small)
    assert model_bytes(ClipTask(recipe())) == sum(t.numel() * t.element_size() for t in module.state_dict().values())


def test_a_full_disk_is_refused_before_the_run(tmp_path):
    check_disk(str(tmp_path), 1, keep=2)
    with pytest.raises(UserError, match=r"\(2 kept \+ latest \+ new\) x 1048576\.00 GiB = 4194304\.00 GiB"):
        check_disk(str(tmp_path), 2**50, keep=2)


def test_a_custom_resource_that_no_node_declares_is_named():
    held = claims(recipe(workers=2, worker_resource="trainer"))
    with pytest.raises(UserError, match=r"custom resource trainer.*2 needed.*at most 1.*--resources"):
        check_cluster(held, [Node(name="data", cpus=8), Node(name="train", cpus=8, custom={"trainer": 1.0})])


def test_training_is_placed_on_the_nodes_that_declare_its_resource():
    held = claims(recipe(workers=2, cpus_per_worker=2.0, data_cpus=2.0, worker_resource="trainer"))
    check_cluster(held, [Node(name="data", cpus=2), Node(name="train", cpus=4, custom={"trainer": 2.0})])
    with pytest.raises(UserError, match="fits on no node beside the others"):
        check_cluster(held, [Node(name="data", cpus=4), Node(name="train", cpus=2, custom={"trainer": 2.0})])
