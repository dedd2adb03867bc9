"""What one consumer takes of the cluster, and that any loader's arrays arrive; clips stream in test_batches.py."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.feed.microbatch import MicroBatch, MicroPlan
from pipeline.data.feed.stream import Share, owned, stream


@pytest.mark.parametrize(
    ("cpus", "tasks", "task_cpus"),
    [(1.0, 1, 1.0), (3.0, 3, 1.0), (2.5, 2, 1.0), (0.5, 1, 0.5), (1 / 3, 1, 0.3333), (1.9999, 1, 1.0)],
)
def test_tasks_never_ask_for_more_than_the_share(cpus, tasks, task_cpus):
    share = Share(cpus, 4)
    assert (share.tasks, share.task_cpus) == (tasks, task_cpus)
    assert share.tasks * share.task_cpus <= cpus


@pytest.mark.parametrize(("cpus", "prefetch"), [(0.0, 4), (-1.0, 4), (0.00001, 4), (1.0, -1)])
def test_a_share_that_could_never_run_is_refused(cpus, prefetch):
    with pytest.raises(UserError, match=r"compute\.data_cpus"):
        Share(cpus, prefetch)


def two_kinds():
    """A loader of frames, flow and more; a local class, since tasks cannot import this file."""

    class Loader:
        def load(self, plan):
            if "bad" in plan.ids:
                raise UserError("Video bad cannot be fed.")
            rng, count = np.random.default_rng(plan.step), len(plan.ids)
            arrays = {
                "rgb_BHWC": rng.integers(0, 256, (count, 5, 4, 3), dtype=np.uint8),
                "flow_BHW2": rng.normal(size=(count, 4, 5, 2)).astype(np.float16).transpose(0, 2, 1, 3),
                "step": np.array(plan.step),
                "ids": np.array(plan.ids),
                "none": np.empty((count, 0), np.float64),
                "scale": np.array(json.loads(plan.extra)["scale"]),
            }
            return MicroBatch.of(plan, arrays)

        def bytes_of(self, plan):
            return len(plan.ids) * 60

    return Loader()


def plan_of(step, *ids):
    return MicroPlan(step, 0, 0, len(ids), ids, ("s",) * len(ids), (0,) * len(ids), (), extra='{"scale": 2.5}')


PLANS = [plan_of(g, *(f"v{g}{b}" for b in range(1 + g % 3))) for g in range(40)]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_arrays_of_any_name_type_and_shape_arrive_as_they_were_loaded(ray_cluster):
    loader = two_kinds()
    got = list(stream(iter(PLANS), loader, Share(2.0, 3)))
    assert [(micro.step, micro.ids, micro.samples_in_step) for micro in got] == [
        (plan.step, plan.ids, len(plan.ids)) for plan in PLANS
    ]
    for micro, plan in zip(got, PLANS, strict=True):
        expected = loader.load(plan).arrays
        assert micro.arrays.keys() == expected.keys()
        for name, array in expected.items():
            assert (micro.arrays[name].dtype, micro.arrays[name].shape) == (array.dtype, array.shape), name
            assert np.array_equal(micro.arrays[name], array), name
            assert not micro.arrays[name].flags.writeable
    mine = next(owned(iter_of(got)))
    mine.arrays["rgb_BHWC"][:] = 0
    assert got[0].arrays["rgb_BHWC"].any()


def iter_of(micros):
    yield from micros


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_error_of_any_loader_is_raised_in_its_place(ray_cluster, capfd):
    plans = [*PLANS[:9], replace(PLANS[9], ids=("bad",)), *PLANS[10:20]]
    got = []
    with pytest.raises(UserError, match=r"^Video bad cannot be fed\.$"):
        got.extend(stream(iter(plans), two_kinds(), Share(1.0, 2)))
    assert [micro.step for micro in got] == list(range(9))
    assert "different schema" not in capfd.readouterr().err
