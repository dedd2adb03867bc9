"""One writer of the ledger at a time, on both databases: who holds the lease, what an old fence keeps out."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from pipeline.core.errors import UserError
from pipeline.retrain.errors import HeldError, LeaseLostError
from pipeline.retrain.ledger import Ledger

PASSED, FAILED = {"passed": True, "table": "fine"}, {"passed": False, "table": "worse"}


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


@pytest.mark.parametrize("write", ["step_done", "decide", "finish"])
def test_a_plan_that_never_began_is_not_written(ledger, plan_of, write):
    with pytest.raises(UserError, match="There is no such plan"):
        WRITES[write](ledger, plan_of(["x"]), ledger.lease("star", "a", 60))
    assert ledger.rows() == []
