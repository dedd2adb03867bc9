"""The ledger on both databases: everything once, nothing half; the record stays as written.

Covers pipeline/retrain/decisions.py and tables.py through it.
"""

import threading

import pytest
import sqlalchemy as sa

from pipeline.core.errors import UserError
from pipeline.retrain.errors import LeaseLostError
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.records import PlanRow
from pipeline.retrain.tables import APPEND_ONLY, metadata, plans, steps

PASSED, FAILED = {"passed": True, "table": "fine"}, {"passed": False, "table": "worse"}


# Plans


def test_a_plan_goes_through_and_its_batches_are_consumed(ledger, clock, plan_of, promoted):
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


def test_everything_may_be_done_again_and_changes_nothing(ledger, clock, plan_of, promoted):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    row = promoted(ledger, lease, plan, 2)
    before = ledger.events()
    clock.now += 1
    assert promoted(ledger, lease, plan, 2) == row
    assert ledger.events() == before


def test_a_step_with_other_facts_and_another_verdict_are_refused(ledger, plan_of, decided):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    with pytest.raises(UserError, match="Step trained of plan plan-1-x was done with other facts"):
        ledger.step_done(plan.plan_key, lease, "trained", {"checkpoint": "d"})
    with pytest.raises(UserError, match="Plan plan-1-x is decided already"):
        ledger.decide(plan.plan_key, lease, FAILED)
    assert ledger.row(plan.plan_key).verdict == PASSED
    assert ledger.facts(plan.plan_key) == {"trained": {"checkpoint": "c"}}


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


def test_a_decided_plan_gives_way_to_none(ledger, plan_of, decided):
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
def test_what_failed_or_was_superseded_is_taken_up_with_its_facts(ledger, plan_of, ending, decided, promoted):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    ledger.step_done(plan.plan_key, lease, "registered", {"version": 2})
    assert ledger.finish(plan.plan_key, lease, ending).outcome == ending
    assert ledger.uses(plan.plan_key) == {}
    assert ledger.begin(plan, lease).outcome is None
    assert ledger.facts(plan.plan_key) == {"trained": {"checkpoint": "c"}}  # what followed the verdict is done again
    assert promoted(ledger, lease, plan, 2).outcome == "promoted"


@pytest.mark.parametrize("ending", ["promoted", "refused"])
def test_what_is_final_stays(ledger, plan_of, ending, promoted, refused):
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


def test_the_end_and_the_use_of_the_batches_are_one_transaction(ledger, plan_of, decided):
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


def test_the_lineage_of_a_version_is_what_was_consumed_on_the_way_to_it(ledger, clock, plan_of, promoted, refused):
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


def test_a_batch_is_never_used_twice_by_one_lineage(ledger, plan_of, promoted):
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


def test_the_version_is_known_before_anything_moves_and_stays(ledger, plan_of, decided):
    lease, plan = ledger.lease("star", "a", 60), plan_of(["x"])
    decided(ledger, lease, plan, PASSED)
    with pytest.raises(RuntimeError, match="killed"), ledger.moving(plan.plan_key, lease, 2):
        raise RuntimeError("killed")
    assert ledger.row(plan.plan_key).version == 2
    with pytest.raises(UserError, match="has another candidate"), ledger.moving(plan.plan_key, lease, 3):
        pytest.fail("moved another")


def test_nobody_writes_while_the_champion_moves(ledger, plan_of, clock, decided):
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


# The record


def test_the_record_is_in_order_and_cannot_be_changed(ledger, plan_of, promoted):
    promoted(ledger, ledger.lease("star", "a", 60), plan_of(["x"]), 2)
    assert [event.sequence for event in ledger.events()] == list(range(1, len(ledger.events()) + 1))
    actions = [event.action for event in ledger.events()]
    assert actions == ["lease", "begin", "step", "decide", "move", "step", "finish"]
    assert APPEND_ONLY == ("retrain_events",)
    for statement in ("UPDATE retrain_events SET actor = 'x'", "DELETE FROM retrain_events"):
        with pytest.raises(sa.exc.DBAPIError, match="retrain_events is append-only"), ledger.alone() as connection:
            connection.execute(sa.text(statement))


def test_opening_again_keeps_what_is_there(ledger, plan_of, clock, refused):
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
