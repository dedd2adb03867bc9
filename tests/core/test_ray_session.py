"""How many CPUs a cluster of a job's own declares."""

import os

import pytest

from pipeline.core.ray_session import logical_cpus


@pytest.mark.parametrize(
    ("cores", "wanted", "declared"),
    [
        (2, 0.0, 2),  # never fewer than there are
        (2, 1.0, 2),
        (2, 2.5, 3),  # whole ones
        (2, 5.0, 5),  # more than there are: processes share cores, and nobody waits for ever
        (2, 80.0, 8),  # up to four a core; the preflight refuses the rest
        (16, 10.0, 16),
    ],
)
def test_a_local_cluster_offers_what_the_job_holds_at_the_same_time(monkeypatch, cores, wanted, declared):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert logical_cpus(wanted) == declared
