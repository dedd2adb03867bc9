"""A checkpoint gives back what was put in, runs no code, and is taken when the clock says so."""

import pickle
from dataclasses import fields, replace

import pytest
import torch

from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError
from pipeline.train import checkpoint
from pipeline.train.checkpoint import Action, Policy, Snapshot
from pipeline.train.recipe import Recipe


@pytest.fixture
def snapshot(network):
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    module(torch.randn(2, 3, 2, 6, 6)).logits_BK.sum().backward()
    optimizer.step()
    return Snapshot(
        step=7,
        reason="epoch",
        model=module.state_dict(),
        optimizer=optimizer.state_dict(),
        recipe=to_dict(Recipe(name="r")),
        plan={"seed": 0, "samples": 22, "global_batch": 4, "epochs": 2},
        passport="abc",
        passport_parts={"ids": "1"},
        classes=("a", "b"),
        mlflow_run_id="m",
        skipped=1,
        top1=12.5,
        best_top1=25.0,
        points=({"step": 6, "time_ms": 1, "metrics": {"train/loss": 0.5}},),
    )


def test_round_trip(snapshot, tmp_path):
    checkpoint.write(str(tmp_path), snapshot)
    back = checkpoint.read(str(tmp_path))
    for field in fields(Snapshot):
        if field.name not in ("model", "optimizer"):
            assert getattr(back, field.name) == getattr(snapshot, field.name), field.name
    assert back.model.keys() == snapshot.model.keys()
    assert all(torch.equal(back.model[name], value) for name, value in snapshot.model.items())
    for i, state in snapshot.optimizer["state"].items():
        momentum = state["momentum_buffer"]
        assert momentum is None or torch.equal(back.optimizer["state"][i]["momentum_buffer"], momentum)
    assert from_dict(Recipe, back.recipe) == Recipe(name="r")


def test_a_checkpoint_older_than_a_field_is_read(snapshot, tmp_path):
    checkpoint.write(str(tmp_path), snapshot)
    values = torch.load(tmp_path / "state.pt", weights_only=True)
    del values["score"], values["best_score"]
    torch.save(values, tmp_path / "state.pt")
    back = checkpoint.read(str(tmp_path))
    assert (back.best_score, back.best_top1) == (None, snapshot.best_top1)


def test_a_checkpoint_replaces_another_whole_and_leaves_no_other_file(snapshot, tmp_path):
    checkpoint.write(str(tmp_path), snapshot)
    checkpoint.write(str(tmp_path), replace(snapshot, step=8))
    assert checkpoint.read(str(tmp_path)).step == 8
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    torch.save({"format": 1, "model": Bomb()}, tmp_path / "state.pt")
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.read(str(tmp_path))
    assert not (tmp_path / "exploded").exists()


def test_an_absent_or_foreign_checkpoint_is_the_users_error(tmp_path):
    with pytest.raises(UserError, match=r"There is no checkpoint.*state\.pt"):
        checkpoint.read(str(tmp_path))
    torch.save({"format": 99}, tmp_path / "state.pt")
    with pytest.raises(UserError, match="format 1"):
        checkpoint.read(str(tmp_path))


class Clock:
    """Seconds that the test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def actions(policy, clock, steps, seconds_per_step, leaving=None):
    """Run steps 1..steps and return {step: action}, reporting as the loop does."""
    taken = {}
    for done in range(1, steps + 1):
        clock.now += seconds_per_step
        if policy.is_agreement(done):
            action = policy.decide((leaving or {}).get(done, frozenset()))
            if action is not Action.NOTHING:
                taken[done] = action
                policy.reported(checkpoint=action is not Action.REPORT)
    return taken


def test_checkpoints_fall_on_the_first_agreement_after_the_time_is_up():
    clock = Clock()
    policy = Policy(minutes=10, agree_every=10, clock=clock, report_seconds=1e9)
    # 17 s a step: 600 s are over after 35.3 steps, so at 40, and 36 steps later, at 80.
    assert actions(policy, clock, 200, 17.0) == dict.fromkeys([40, 80, 120, 160, 200], Action.CHECKPOINT_CLOCK)


def test_reports_in_between_do_not_delay_checkpoints():
    clock = Clock()
    policy = Policy(minutes=1, agree_every=5, clock=clock, report_seconds=30)
    taken = actions(policy, clock, 60, 2.0)
    assert taken == {
        15: Action.REPORT,
        30: Action.CHECKPOINT_CLOCK,
        45: Action.REPORT,
        60: Action.CHECKPOINT_CLOCK,
    }


def test_a_checkpoint_at_the_end_of_an_epoch_restarts_the_clock():
    clock = Clock()
    policy = Policy(minutes=1, agree_every=1, clock=clock, report_seconds=1e9)
    actions(policy, clock, 50, 1.0)
    policy.reported(checkpoint=True)
    assert list(actions(policy, clock, 70, 1.0)) == [60]


def test_each_preemption_notice_is_answered_by_one_checkpoint():
    clock = Clock()
    policy = Policy(minutes=1e9, agree_every=2, clock=clock, report_seconds=1e9)
    first, both = frozenset({"node-a"}), frozenset({"node-a", "node-b"})
    notices = {4: first, 6: first, 8: both, 10: both}
    assert actions(policy, clock, 12, 1.0, notices) == dict.fromkeys([4, 8], Action.CHECKPOINT_PREEMPTION)
