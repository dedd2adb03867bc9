"""The ledger's server stops in the middle of a night: the work has failed, and why it did is said."""

from types import SimpleNamespace

import pytest

from jobs import retrain
from pipeline.core.errors import UserError
from pipeline.retrain.attempt import attempt
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import Trained


def desk_of(ledger, plan):
    """A desk with one plan to do and nothing to tell of earlier ones."""
    found = SimpleNamespace(plan=plan, reason="a new batch")
    policy, champions = SimpleNamespace(id=plan.policy), SimpleNamespace(model=plan.model)
    return SimpleNamespace(ledger=ledger, champions=champions, policy=policy, look=lambda: found)


def work_of(train):
    return lambda: SimpleNamespace(train=train)


def test_the_reason_of_a_failure_outlives_the_ledger(dying_postgres, plan_of, capsys):
    url, stop = dying_postgres
    ledger = Ledger(url)

    def train(_):
        stop()
        raise UserError("the disk is full")

    with pytest.raises(UserError, match=r"^the disk is full$"):
        attempt(desk_of(ledger, plan_of(["b1"])), work_of(train))
    assert "is not recorded as failed (The database does not answer" in capsys.readouterr().err
    ledger.close()


def test_a_ledger_that_dies_is_failed_work_and_no_defect(dying_postgres, plan_of, capsys, monkeypatch):
    url, stop = dying_postgres
    ledger = Ledger(url)

    def train(_):
        stop()
        return Trained(run_id="run", checkpoint="runs/candidate")

    monkeypatch.setattr("pipeline.retrain.work.Training", lambda **_: SimpleNamespace(train=train))
    desk = desk_of(ledger, plan_of(["b1"]))
    desk.root = "runs"
    assert retrain.once(desk, 1) == retrain.FAILED
    assert "failed: The database does not answer" in capsys.readouterr().err
    ledger.close()
