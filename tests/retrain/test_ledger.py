"""The ledger on both databases: one writer, everything once, nothing half; what people say stays.

Covers pipeline/retrain/leases.py, pipeline/retrain/people.py, decisions.py and tables.py through it.
"""

import os
import signal
import subprocess
import sys
import threading

import pytest
import sqlalchemy as sa

from pipeline.core.errors import UserError
from pipeline.retrain.errors import HeldError, LeaseLostError, OnHoldError, SupersededError
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.records import PlanRow
from pipeline.retrain.tables import APPEND_ONLY, metadata, plans, steps

PASSED, FAILED = {"passed": True, "table": "fine"}, {"passed": False, "table": "worse"}


def decided(ledger, lease, plan, verdict):
    """Take a plan to its verdict."""
    ledger.begin(plan, lease)
    ledger.step_done(plan.plan_key, lease, "trained", {"checkpoint": "c"})
    ledger.decide(plan.plan_key, lease, verdict)


def promoted(ledger, lease, plan, version):
    """Take a plan to its end; returns how it ended."""
    decided(ledger, lease, plan, PASSED)
    with ledger.moving(plan.plan_key, lease, version):
        pass
    ledger.step_done(plan.plan_key, lease, "promoted", {})
    return ledger.finish(plan.plan_key, lease, "promoted")


def refused(ledger, lease, plan):
    decided(ledger, lease, plan, FAILED)
    ledger.step_done(plan.plan_key, lease, "refused", {})
    return ledger.finish(plan.plan_key, lease, "refused")


def events_of(ledger, action):
    return [event for event in ledger.events() if event.action == action]


# Leases


def test_one_holds_the_lease_and_the_other_is_told_who(ledger, clock):
    mine = ledger.lease("star", "job on host-a", 60)
    with pytest.raises(HeldError, match=r"job on host-a, since 1970-01-12T13:46:40\+00:00, until 1970-01-12T13:47:40"):
        ledger.lease("star", "job on host-b", 60)
    assert ledger.lease("another model", "job on host-b", 60).token == 1
    ledger.release(mine)
    assert ledger.lease("star", "job on host-b", 60).token == mine.token + 1


def test_a_renewed_lease_lasts_from_then_and_a_lapsed_one_is_free(ledger, clock):
    mine = ledger.lease("star", "a", 60)
    clock.now += 59
    ledger.renew(mine)
    clock.now += 59
    with pytest.raises(HeldError):
        ledger.lease("star", "b", 60)
    clock.now += 1
    theirs = ledger.lease("star", "b", 60)
    assert theirs.token == mine.token + 1
    with pytest.raises(LeaseLostError, match="no longer a's, token 1: now b, token 2"):
        ledger.renew(mine)
    ledger.release(mine)  # theirs stays
    ledger.renew(theirs)


def test_a_lapsed_lease_that_nobody_took_still_writes(ledger, clock, plan_of):
    mine = ledger.lease("star", "a", 60)
    clock.now += 3600
    assert ledger.begin(plan_of(["x"]), mine).outcome is None
    ledger.renew(mine)
    with pytest.raises(HeldError):
        ledger.lease("star", "b", 60)


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    where = str(tmp_path / "ledger.db")
    code = (
        "import sys, time\nfrom pipeline.retrain.ledger import Ledger\n"
        f"Ledger({where!r}).lease('star', 'the killed one', 3600)\nprint('held', flush=True)\ntime.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    ledger = Ledger(where)
    with pytest.raises(HeldError, match="the killed one"):
        ledger.lease("star", "b", 60)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert ledger.lease("star", "b", 60).token == 2
    ledger.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_of_many_at_once_one_gets_the_lease(new_database, kind):
    where, got = new_database(kind), []

    def take(number):
        ledger = Ledger(where)  # opened at the same time too
        try:
            got.append(ledger.lease("star", f"job {number}", 60))
        except HeldError as error:
            got.append(error)
        ledger.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert sum(not isinstance(one, HeldError) for one in got) == 1


WRITES = {
    "begin": lambda ledger, plan, lease: ledger.begin(plan, lease),
    "step_done": lambda ledger, plan, lease: ledger.step_done(plan.plan_key, lease, "scored", {}),
    "decide": lambda ledger, plan, lease: ledger.decide(plan.plan_key, lease, FAILED),
    "moving": lambda ledger, plan, lease: ledger.moving(plan.plan_key, lease, 2).__enter__(),
    "finish": lambda ledger, plan, lease: ledger.finish(plan.plan_key, lease, "failed"),
    "renew": lambda ledger, plan, lease: ledger.renew(lease),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_behind_an_old_fence(ledger, clock, plan_of, write):
    plan, mine = plan_of(["x"]), ledger.lease("star", "a", 60)
    ledger.begin(plan, mine)
    clock.now += 61
    theirs = ledger.lease("star", "b", 60)
    before = (ledger.rows(), ledger.facts(plan.plan_key), ledger.events())
    with pytest.raises(LeaseLostError):
        WRITES[write](ledger, plan, mine)
    assert (ledger.rows(), ledger.facts(plan.plan_key), ledger.events()) == before
    assert ledger.begin(plan, theirs).plan == plan


# Plans


def test_a_plan_goes_through_and_its_batches_are_consumed(ledger, clock, plan_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["y", "x"])
    assert ledger.row(plan.plan_key) is None
    began = ledger.begin(plan, lease)
    assert began == PlanRow(
        plan=plan, began=clock.now, verdict=None, decided=None, version=None, outcome=None, ended=None
    )
    assert ledger.uses(plan.plan_key) == {}
    row = promoted(ledger, lease, plan, 2)
    assert (row.outcome, row.version, row.verdict, row.ended) == ("promoted", 2, PASSED, clock.now)
    assert ledger.uses(plan.plan_key) == {"x": "consumed", "y": "consumed"}
    assert ledger.facts(plan.plan_key) == {"trained": {"checkpoint": "c"}, "promoted": {}}
    assert ledger.rows() == ledger.rows("star-tiny") == [row]
    assert ledger.rows("another") == []


def test_everything_may_be_done_again_and_changes_nothing(ledger, clock, plan_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    row = promoted(ledger, lease, plan, 2)
    before = ledger.events()
    clock.now += 1
    assert promoted(ledger, lease, plan, 2) == row
    assert ledger.events() == before


def test_a_step_with_other_facts_and_another_verdict_are_refused(ledger, plan_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    with pytest.raises(UserError, match="Step trained of plan plan-1-x was done with other facts"):
        ledger.step_done(plan.plan_key, lease, "trained", {"checkpoint": "d"})
    with pytest.raises(UserError, match="Plan plan-1-x is decided already"):
        ledger.decide(plan.plan_key, lease, FAILED)
    assert ledger.row(plan.plan_key).verdict == PASSED
    assert ledger.facts(plan.plan_key) == {"trained": {"checkpoint": "c"}}


@pytest.mark.parametrize("write", ["step_done", "decide", "finish"])
def test_a_plan_that_never_began_is_not_written(ledger, plan_of, write):
    with pytest.raises(UserError, match="There is no such plan"):
        WRITES[write](ledger, plan_of(["x"]), ledger.lease("star", "a", 60))
    assert ledger.rows() == []


def test_an_undecided_plan_gives_way_to_another_and_its_batches_are_new_again(ledger, clock, plan_of):
    lease, first, second = ledger.lease("star", "a", 60), plan_of(["x"]), plan_of(["x", "y"])
    ledger.begin(first, lease)
    clock.now += 1
    ledger.begin(second, lease)
    assert [row.outcome for row in ledger.rows()] == ["superseded", None]
    assert ledger.uses(first.plan_key) == {}
    clock.now += 1
    ledger.begin(first, lease)  # the champion came back, say
    assert [row.outcome for row in ledger.rows()] == [None, "superseded"]


def test_a_decided_plan_gives_way_to_none(ledger, plan_of):
    lease, first = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, first, PASSED)
    with pytest.raises(UserError, match="Plan plan-1-x of star-tiny is decided and not finished"):
        ledger.begin(plan_of(["x", "y"]), lease)
    assert [row.plan for row in ledger.rows()] == [first]
    other = plan_of(["x"], model="another", key="plan-of-another")
    assert ledger.begin(other, lease).plan == other


def test_the_database_itself_allows_one_plan_in_work_for_a_model(ledger, plan_of):
    lease = ledger.lease("star", "a", 60)
    ledger.begin(plan_of(["x"]), lease)
    row = {"plan_key": "k", "model": "star-tiny", "champion": 1, "policy": "p", "plan": {}, "began": 0.0}
    with pytest.raises(sa.exc.IntegrityError), ledger.alone() as connection:
        connection.execute(plans.insert().values(**row))


@pytest.mark.parametrize("ending", ["failed", "superseded"])
def test_what_failed_or_was_superseded_is_taken_up_with_its_facts(ledger, plan_of, ending):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    ledger.step_done(plan.plan_key, lease, "registered", {"version": 2})
    assert ledger.finish(plan.plan_key, lease, ending).outcome == ending
    assert ledger.uses(plan.plan_key) == {}
    assert ledger.begin(plan, lease).outcome is None
    assert ledger.facts(plan.plan_key) == {"trained": {"checkpoint": "c"}}  # what followed the verdict is done again
    assert promoted(ledger, lease, plan, 2).outcome == "promoted"


@pytest.mark.parametrize("ending", ["promoted", "refused"])
def test_what_is_final_stays(ledger, plan_of, ending):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    row = promoted(ledger, lease, plan, 2) if ending == "promoted" else refused(ledger, lease, plan)
    assert ledger.begin(plan, lease) == row
    with pytest.raises(UserError, match="has ended already"):
        ledger.finish(plan.plan_key, lease, "failed")
    assert ledger.row(plan.plan_key) == row


@pytest.mark.parametrize(
    ("verdict", "ending"), [(None, "promoted"), (None, "refused"), (PASSED, "refused"), (FAILED, "promoted")]
)
def test_a_plan_ends_as_its_verdict_says(ledger, plan_of, verdict, ending):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    ledger.begin(plan, lease)
    if verdict:
        ledger.decide(plan.plan_key, lease, verdict)
    with pytest.raises(UserError, match="allows no such end"):
        ledger.finish(plan.plan_key, lease, ending)
    assert ledger.row(plan.plan_key).outcome is None


def test_the_end_and_the_use_of_the_batches_are_one_transaction(ledger, plan_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, FAILED)
    before = ledger.events()

    def fail(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO retrain_uses"):
            raise RuntimeError("killed here")

    engine = ledger._database.engine
    sa.event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="killed here"):
        ledger.finish(plan.plan_key, lease, "refused")
    sa.event.remove(engine, "before_cursor_execute", fail)
    assert (ledger.row(plan.plan_key).outcome, ledger.uses(plan.plan_key), ledger.events()) == (None, {}, before)
    ledger.finish(plan.plan_key, lease, "refused")
    assert ledger.uses(plan.plan_key) == {"x": "evaluated"}


# Lineage


def test_the_lineage_of_a_version_is_what_was_consumed_on_the_way_to_it(ledger, clock, plan_of):
    lease = ledger.lease("star", "a", 60)
    promoted(ledger, lease, plan_of(["a"], champion=1), 2)
    refused(ledger, lease, plan_of(["b"], champion=2))
    promoted(ledger, lease, plan_of(["b", "c"], champion=2, lineage=["a"]), 4)
    promoted(ledger, lease, plan_of(["d"], champion=1), 5)  # after going back to version 1
    assert ledger.used("star-tiny", 1) == {}
    assert ledger.used("star-tiny", 2) == {"a": "plan-1-a"}
    assert ledger.used("star-tiny", 4) == {"a": "plan-1-a", "b": "plan-2-b-c", "c": "plan-2-b-c"}
    assert ledger.used("star-tiny", 5) == {"d": "plan-1-d"}
    assert ledger.used("another", 4) == {}


def test_a_batch_is_never_used_twice_by_one_lineage(ledger, plan_of):
    lease = ledger.lease("star", "a", 60)
    promoted(ledger, lease, plan_of(["a"], champion=1), 2)
    with pytest.raises(UserError, match="Plan plan-2-a-b uses batches twice"):
        promoted(ledger, lease, plan_of(["a", "b"], champion=2), 3)
    assert (ledger.row("plan-2-a-b").outcome, ledger.uses("plan-2-a-b")) == (None, {})


# Moving


def test_a_champion_moves_after_its_verdict_alone(ledger, plan_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    ledger.begin(plan, lease)
    with pytest.raises(UserError, match="allows no such end"), ledger.moving(plan.plan_key, lease, 2):
        pytest.fail("moved without a verdict")
    ledger.decide(plan.plan_key, lease, FAILED)
    with pytest.raises(UserError, match="allows no such end"), ledger.moving(plan.plan_key, lease, 2):
        pytest.fail("moved a refused one")
    assert ledger.row(plan.plan_key).version is None


def test_the_version_is_known_before_anything_moves_and_stays(ledger, plan_of):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    with pytest.raises(RuntimeError, match="killed"), ledger.moving(plan.plan_key, lease, 2):
        raise RuntimeError("killed")
    assert ledger.row(plan.plan_key).version == 2
    with pytest.raises(UserError, match="has another candidate"), ledger.moving(plan.plan_key, lease, 3):
        pytest.fail("moved another")


def test_nobody_writes_while_the_champion_moves(ledger, plan_of, clock):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    clock.now += 61  # the lease has lapsed: anybody may take it now
    other = Ledger(ledger._database.url.render_as_string(hide_password=False), clock)
    order = []

    def take():
        order.append(f"taken, token {other.lease('star', 'b', 60).token}")

    thread = threading.Thread(target=take)
    with ledger.moving(plan.plan_key, lease, 2):
        thread.start()
        thread.join(timeout=0.5)
        order.append("moved")
        with pytest.raises(RuntimeError, match="would wait for ever"):
            ledger.renew(lease)
    thread.join()
    other.close()
    assert order == ["moved", "taken, token 2"]
    with pytest.raises(LeaseLostError), ledger.moving(plan.plan_key, lease, 2):
        pytest.fail("moved behind an old fence")


# People


def test_a_hold_stops_the_move_until_it_is_released(ledger, plan_of):
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
def test_what_people_decide_has_a_name_and_a_reason(ledger, plan_of, who, reason):
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


def test_an_override_opens_a_refused_plan_for_promotion(ledger, plan_of):
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


def test_nothing_else_can_be_overridden(ledger, plan_of):
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


def test_rolling_back_blocks_the_plan_and_leaves_its_batches_out(ledger, plan_of):
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


def test_a_plan_that_was_killed_before_its_end_may_be_rolled_back(ledger, plan_of):
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


def test_until_the_alias_has_moved_back_nothing_follows_the_version(ledger, plan_of):
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


def test_a_version_that_people_registered_may_be_rolled_back(ledger):
    ledger.rolled_back("star-tiny", 7, "", "Ada", "wrong file")
    assert [event.subject for event in events_of(ledger, "roll_back")] == ["star-tiny/version-7"]


def test_a_batch_is_left_out_and_taken_back(ledger):
    ledger.leave_out("star-tiny", "x", "Ada", "random scores")
    ledger.leave_out("another", "y", "Ada", "random scores")
    assert list(ledger.left_out("star-tiny")) == ["x"]
    ledger.take_back("star-tiny", "x", "Ada", "reviewed")
    assert ledger.left_out("star-tiny") == {}
    assert list(ledger.left_out("another")) == ["y"]


# The record


def test_the_record_is_in_order_and_cannot_be_changed(ledger, plan_of):
    promoted(ledger, ledger.lease("star", "a", 60), plan_of(["x"]), 2)
    assert [event.sequence for event in ledger.events()] == list(range(1, len(ledger.events()) + 1))
    actions = [event.action for event in ledger.events()]
    assert actions == ["lease", "begin", "step", "decide", "move", "step", "finish"]
    assert APPEND_ONLY == ("retrain_events",)
    for statement in ("UPDATE retrain_events SET actor = 'x'", "DELETE FROM retrain_events"):
        with pytest.raises(sa.exc.DBAPIError, match="retrain_events is append-only"), ledger.alone() as connection:
            connection.execute(sa.text(statement))


def test_opening_again_keeps_what_is_there(ledger, plan_of, clock):
    row = refused(ledger, ledger.lease("star", "a", 60), plan_of(["x"]))
    again = Ledger(ledger._database.url.render_as_string(hide_password=False), clock)
    assert (again.rows(), again.events()) == ([row], ledger.events())
    with again._database.read() as connection:
        assert set(metadata.tables) <= set(sa.inspect(connection).get_table_names())
        assert connection.scalar(sa.select(sa.func.count()).select_from(steps)) == 2
    again.close()


def test_a_ledger_that_cannot_be_opened_names_its_option(tmp_path):
    with pytest.raises(UserError, match="correct --ledger"):
        Ledger("mysql://x/y")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(UserError, match="check --ledger"):
        Ledger(str(tmp_path / "folder.db"))
