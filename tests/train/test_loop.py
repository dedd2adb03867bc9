"""The loop's small parts, and what a person sees of an error that happens inside a worker."""

import pytest

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.train.launch import train
from pipeline.train.loop import WaitingIterator


def test_waiting_is_counted_and_closing_reaches_the_feed():
    closed = []

    def feed():
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    batches = WaitingIterator(feed())
    assert next(batches) == "a"
    assert batches.take_wait() > 0
    assert batches.take_wait() == 0
    batches.close()
    assert closed == [True]


@pytest.mark.ray
@pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy is deprecated", "ignore::DeprecationWarning:ray", "ignore::ResourceWarning"
)
def test_a_workers_user_error_reaches_the_user_as_it_is(cluster, fit, tmp_path):
    class Unreadable(fit.RandomFeed):
        def train(self, start_step, rank, world):
            yield from super().train(start_step, rank, world) if start_step else ()
            raise UserError("Video v7 cannot be read.")

    recipe = override(fit.recipe_for(1), ["compute.max_failures=0"])
    with pytest.raises(UserError, match=r"^Video v7 cannot be read\.$"):
        train(recipe, root=str(tmp_path), name="r", open_feed=Unreadable)
