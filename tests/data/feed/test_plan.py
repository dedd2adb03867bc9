"""The plan covers every epoch once, cuts it evenly, and depends on nothing but its numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.data.feed.plan import Plan, epoch_order

PLANS = st.builds(
    Plan,
    seed=st.integers(0, 2**70),
    samples=st.integers(1, 300),
    global_batch=st.integers(1, 70),
    epochs=st.integers(1, 3),
)


@given(PLANS)
def test_every_sample_is_seen_once_an_epoch_in_even_steps(plan):
    steps = [plan.step(g) for g in range(plan.total_steps)]
    assert plan.steps_per_epoch == int(np.ceil(plan.samples / plan.global_batch))
    for epoch in range(plan.epochs):
        mine = [step for step in steps if step.epoch == epoch]
        sizes = [len(step.samples) for step in mine]
        assert len(mine) == plan.steps_per_epoch
        assert max(sizes) <= plan.global_batch
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) == plan.smallest_step
        assert sorted(np.concatenate([step.samples for step in mine])) == list(range(plan.samples))


@given(PLANS)
def test_steps_are_numpys_array_split_of_the_epochs_order(plan):
    for epoch in range(plan.epochs):
        pieces = np.array_split(epoch_order(plan.seed, epoch, plan.samples), plan.steps_per_epoch)
        for within, piece in enumerate(pieces):
            assert np.array_equal(plan.step(epoch * plan.steps_per_epoch + within).samples, piece)


@given(PLANS, st.integers(1, 5), st.integers(1, 4))
def test_ranks_and_micro_batches_partition_the_step_in_order(plan, world, accumulate):
    for g in range(min(plan.total_steps, 5)):
        step = plan.step(g)
        ranks = [step.pieces(rank, world, accumulate) for rank in range(world)]
        assert all(len(pieces) == accumulate for pieces in ranks)
        assert np.array_equal(np.concatenate([piece for pieces in ranks for piece in pieces]), step.samples)
        for pieces in ranks:
            assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_seeds_and_epochs_give_other_orders_and_equal_ones_the_same():
    orders = [tuple(epoch_order(seed, epoch, 50)) for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (2**64, 0)]]
    assert len(set(orders)) == len(orders)
    assert tuple(epoch_order(0, 1, 50)) == orders[1]


def test_the_order_is_pinned():
    """A change here reorders every run and breaks their resumption: it needs a new major version."""
    assert epoch_order(7, 3, 12).tolist() == [11, 2, 10, 4, 7, 3, 5, 1, 8, 9, 0, 6]


def test_a_permutation_has_no_favourite_places():
    first = [int(epoch_order(seed, 0, 5)[0]) for seed in range(2000)]
    assert abs(np.bincount(first, minlength=5) - 400).max() < 80, "four and a half standard deviations"


def test_the_order_cannot_be_changed_by_its_readers():
    with pytest.raises(ValueError, match="read-only"):
        Plan(seed=0, samples=4, global_batch=2, epochs=1).step(0).samples[0] = 1


def test_there_are_no_steps_outside_the_plan():
    plan = Plan(seed=0, samples=4, global_batch=2, epochs=2)
    for g in (-1, 4):
        with pytest.raises(IndexError, match="4 steps"):
            plan.step(g)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"global_batch": 0}, {"epochs": 0}, {"seed": -1}])
def test_an_empty_plan_is_refused(wrong):
    with pytest.raises(UserError, match="plan is empty"):
        Plan(**{"seed": 0, "samples": 1, "global_batch": 1, "epochs": 1, **wrong})


def test_workers_that_would_get_nothing_are_refused():
    plan = Plan(seed=0, samples=9, global_batch=4, epochs=1)
    plan.check_pieces(world=3, accumulate=1)
    with pytest.raises(UserError, match=r"at least 3, over 2 workers x 2 micro-batches"):
        plan.check_pieces(world=2, accumulate=2)
