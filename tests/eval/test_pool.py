"""What batch inference claims, in numbers; that it answers in order is tested where it predicts."""

import pytest

from pipeline.eval.pool import Machines
from pipeline.train.preflight import Claim


@pytest.mark.parametrize(("data_cpus", "tasks", "each"), [(0.5, 1, 0.5), (1.0, 1, 1.0), (2.5, 2, 1.25), (4.0, 4, 1.0)])
def test_decoding_shares_its_cpus_in_whole_tasks(data_cpus, tasks, each):
    machines = Machines(actors=3, cpus_per_actor=2.0, gpu=True, data_cpus=data_cpus)
    assert machines.claims() == [
        Claim(what="predictors", count=3, cpus=2.0, gpus=1.0),
        Claim(what="decoding tasks", count=tasks, cpus=each),
    ]
    assert machines.cpus() == 3 * 2.0 + data_cpus


def test_without_a_gpu_none_is_claimed():
    assert [claim.gpus for claim in Machines().claims()] == [0.0, 0.0]
