"""What people say of plans, versions and batches, on both databases: it has a name, a reason, and it stays."""

import pytest

from pipeline.core.errors import UserError
from pipeline.retrain.errors import OnHoldError, SupersededError

PASSED, FAILED = {"passed": True, "table": "fine"}, {"passed": False, "table": "worse"}


def test_a_hold_stops_the_move_until_it_is_released(ledger, plan_of, decided, promoted):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    assert ledger.held() is None
    decided(ledger, lease, plan, PASSED)
    ledger.hold("Ada", "the cameras were moved")
    assert (ledger.held().who, ledger.held().reason) == ("Ada", "the cameras were moved")
    with pytest.raises(OnHoldError, match="the cameras were moved, says Ada"), ledger.moving(plan.plan_key, lease, 2):
        pytest.fail("moved on hold")
    ledger.release_hold("Bo", "they are back")
    assert ledger.held() is None
    assert promoted(ledger, lease, plan, 2).outcome == "promoted"


@pytest.mark.parametrize(("who", "reason"), [("", "why"), ("  ", "why"), ("Ada", ""), ("Ada", " ")])
def test_what_people_decide_has_a_name_and_a_reason(ledger, plan_of, who, reason, refused):
    refused(ledger, ledger.lease("star", "a", 60), plan_of(["x"]))
    before = ledger.events()
    for decision in (
        lambda: ledger.hold(who, reason),
        lambda: ledger.release_hold(who, reason),
        lambda: ledger.override("plan-1-x", who, reason),
        lambda: ledger.rolled_back("star-tiny", 1, "", who, reason),
        lambda: ledger.leave_out("star-tiny", "x", who, reason),
        lambda: ledger.take_back("star-tiny", "x", who, reason),
    ):
        with pytest.raises(UserError, match="needs a name and a reason"):
            decision()
    assert ledger.events() == before
    assert ledger.row("plan-1-x").outcome == "refused"


def test_an_override_opens_a_refused_plan_for_promotion(ledger, plan_of, refused):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    refused(ledger, lease, plan)
    ledger.override(plan.plan_key, "Ada", "the class was renamed")
    row = ledger.row(plan.plan_key)
    assert (row.outcome, row.verdict) == (None, FAILED)  # the verdict is what it was
    assert ledger.uses(plan.plan_key) == {}
    assert "refused" not in ledger.facts(plan.plan_key)
    assert [(event.actor, event.reason) for event in ledger.overrides(plan.plan_key)] == [
        ("Ada", "the class was renamed")
    ]
    with ledger.moving(plan.plan_key, lease, 2):
        pass
    assert ledger.finish(plan.plan_key, lease, "promoted").outcome == "promoted"


def test_nothing_else_can_be_overridden(ledger, plan_of, promoted, refused):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    ledger.begin(plan, lease)
    with pytest.raises(UserError, match="nothing to override now"):
        ledger.override(plan.plan_key, "Ada", "why")
    with pytest.raises(UserError, match="no such plan"):
        ledger.override("another", "Ada", "why")
    refused(ledger, lease, plan)
    ledger.begin(plan_of(["x", "y"]), lease)
    with pytest.raises(UserError, match="in work: 1;"):
        ledger.override(plan.plan_key, "Ada", "why")
    promoted(ledger, lease, plan_of(["x", "y"]), 2)
    with pytest.raises(UserError, match="nothing to override now"):
        ledger.override("plan-1-x-y", "Ada", "why")


def test_rolling_back_blocks_the_plan_and_leaves_its_batches_out(ledger, plan_of, promoted, events_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x", "y"])
    promoted(ledger, lease, plan, 2)
    for _ in range(2):
        ledger.rolled_back("star-tiny", 2, plan.plan_key, "Ada", "worse on doors")
    assert len(events_of(ledger, "roll_back")) == 1
    assert ledger.is_rolled_back(plan.plan_key)
    assert {batch: event.reason for batch, event in ledger.left_out("star-tiny").items()} == dict.fromkeys(
        ("x", "y"), "rolled back: worse on doors"
    )
    assert ledger.left_out("another") == {}
    with pytest.raises(SupersededError, match="rolled back"), ledger.moving(plan.plan_key, lease, 2):
        pytest.fail("promoted again")
    with ledger.moving_back("star-tiny", 2, "Ada"):
        pass
    ledger.override(plan.plan_key, "Bo", "it was the camera")
    assert not ledger.is_rolled_back(plan.plan_key)
    assert ledger.left_out("star-tiny") == {}
    assert promoted(ledger, lease, plan, 2).outcome == "promoted"
    ledger.rolled_back("star-tiny", 2, plan.plan_key, "Ada", "still worse")
    assert ledger.overrides(plan.plan_key) == []
    assert ledger.is_rolled_back(plan.plan_key)


def test_a_plan_that_was_killed_before_its_end_may_be_rolled_back(ledger, plan_of, decided):
    """The champion's alias has moved, the outcome is not stored; a person acts before the next job."""
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    with ledger.moving(plan.plan_key, lease, 2):
        pass
    ledger.rolled_back("star-tiny", 2, plan.plan_key, "Ada", "worse")
    assert (ledger.row(plan.plan_key).outcome, ledger.uses(plan.plan_key)) == ("promoted", {"x": "consumed"})
    with pytest.raises(SupersededError), ledger.moving(plan.plan_key, lease, 2):
        pytest.fail("promoted again")
    assert ledger.finish(plan.plan_key, lease, "superseded").outcome == "promoted"


def test_until_the_alias_has_moved_back_nothing_follows_the_version(ledger, plan_of, decided, promoted):
    lease, first, second = ledger.lease("star", "a", 60), plan_of(["x"]), plan_of(["y"], champion=2)
    promoted(ledger, lease, first, 2)
    decided(ledger, lease, second, PASSED)
    assert ledger.unfinished_rollback("star-tiny") is None
    ledger.rolled_back("star-tiny", 2, first.plan_key, "Ada", "worse")
    assert (ledger.unfinished_rollback("star-tiny"), ledger.unfinished_rollback("another")) == (2, None)
    with pytest.raises(SupersededError, match="being rolled back"), ledger.moving(second.plan_key, lease, 3):
        pytest.fail("followed")
    with pytest.raises(UserError, match="being rolled back: 2"):
        ledger.override(first.plan_key, "Bo", "why")
    with pytest.raises(RuntimeError, match="killed"), ledger.moving_back("star-tiny", 2, "Ada"):
        raise RuntimeError("killed")
    assert ledger.unfinished_rollback("star-tiny") == 2
    with ledger.moving_back("star-tiny", 2, "Ada"):
        pass
    assert ledger.unfinished_rollback("star-tiny") is None


def test_a_version_that_people_registered_may_be_rolled_back(ledger, events_of):
    ledger.rolled_back("star-tiny", 7, "", "Ada", "wrong file")
    assert [event.subject for event in events_of(ledger, "roll_back")] == ["star-tiny/version-7"]


def test_a_batch_is_left_out_and_taken_back(ledger):
    ledger.leave_out("star-tiny", "x", "Ada", "random scores")
    ledger.leave_out("another", "y", "Ada", "random scores")
    assert list(ledger.left_out("star-tiny")) == ["x"]
    ledger.take_back("star-tiny", "x", "Ada", "reviewed")
    assert ledger.left_out("star-tiny") == {}
    assert list(ledger.left_out("another")) == ["y"]
