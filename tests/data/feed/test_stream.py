"""What one consumer takes of the cluster; the stream itself runs in test_batches.py."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data.feed.stream import Share


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
