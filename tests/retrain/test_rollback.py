"""A rollback is recorded, then moved, and finished by the same command wherever it was killed; jobs/rollback.py too."""

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from jobs import rollback as job
from jobs.cli import WRONG_REQUEST, guarded
from pipeline.annotate.batches import write_batch
from pipeline.core.errors import UserError
from pipeline.retrain.champions import ALIASES, Champions
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.rollback import roll_back

pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

MODEL = "star-tiny"


class KilledError(Exception):
    """What a test raises where a process would be killed."""


def aliases(champions):
    found = {alias: champions.at(alias) for alias in ALIASES}
    return {alias: version.number for alias, version in found.items() if version is not None}


def two_nights(ledger, champions, client, plan_of):
    """Version 1 by people, versions 2 and 3 by plans, each promoted; returns the plans."""
    client.create_registered_model(MODEL)
    lease, plans = ledger.lease(MODEL, "night", 60), [plan_of(["a"]), plan_of(["b"], champion=2, lineage=["a"])]
    for tags in ({}, *({"star.plan_key": plan.plan_key, "star.parent": str(plan.champion)} for plan in plans)):
        client.create_model_version(MODEL, "file:///absent", tags={"star.checkpoint": "runs/c", **tags})
    champions.adopt(1)
    for plan in plans:
        ledger.begin(plan, lease)
        ledger.decide(plan.plan_key, lease, {"passed": True})
        with ledger.moving(plan.plan_key, lease, plan.champion + 1):
            champions.promote(plan.champion + 1, plan.champion)
        ledger.finish(plan.plan_key, lease, "promoted")
    ledger.release(lease)
    return plans


@pytest.fixture
def world(lite, memory_registry, plan_of):
    """Ledger, champions and plans after two nights."""
    client = memory_registry()
    champions = Champions(MODEL, "memory", client)
    return lite, champions, two_nights(lite, champions, client, plan_of)


def test_back_to_night_zero(world):
    ledger, champions, plans = world
    done = roll_back(ledger, champions, 0, "Ada", "worse on doors")
    assert (done.bad, done.champion, done.plan_key, done.left_out) == (3, 2, plans[1].plan_key, ("b",))
    assert "version 2 is champion, version 3 rolled back" in done.sentence()
    assert aliases(champions) == {"champion": 2, "challenger": 3, "previous": 1}
    assert roll_back(ledger, champions, 2, "Ada", "also worse").champion == 1
    assert aliases(champions) == {"champion": 1, "challenger": 3}
    assert set(ledger.left_out(MODEL)) == {"a", "b"}
    assert all(ledger.is_rolled_back(plan.plan_key) for plan in plans)
    with pytest.raises(UserError, match="Nothing was before version 1"):
        roll_back(ledger, champions, 0, "Ada", "once more")


@pytest.mark.parametrize("boundary", ["recorded", "champion", "previous"])
@pytest.mark.parametrize("version", [0, 3])
def test_the_same_command_finishes_a_killed_rollback_and_goes_no_further(world, boundary, version):
    ledger, champions, plans = world

    def kill(reached):
        if reached == boundary:
            raise KilledError

    with pytest.raises(KilledError):
        roll_back(ledger, champions, version, "Ada", "worse", kill)
    assert ledger.is_rolled_back(plans[1].plan_key)
    done = roll_back(ledger, champions, version, "Ada", "worse")
    assert (done.bad, done.champion) == (3, 2)
    assert aliases(champions) == {"champion": 2, "challenger": 3, "previous": 1}
    assert [event.action for event in ledger.events()][-3:] == ["roll_back", "leave_out", "moved_back"]
    with pytest.raises(UserError, match="Version 3 is not the champion"):
        roll_back(ledger, champions, 3, "Ada", "worse")


def test_only_the_champion_is_rolled_back(world):
    ledger, champions, _ = world
    before = ledger.events()
    with pytest.raises(UserError, match="Version 2 is not the champion"):
        roll_back(ledger, champions, 2, "Ada", "worse")
    with pytest.raises(UserError, match="needs a name and a reason"):
        roll_back(ledger, champions, 0, "Ada", "")
    assert (ledger.events(), aliases(champions)["champion"]) == (before, 3)


def test_without_a_champion_there_is_nothing_to_roll_back(lite, memory_registry):
    with pytest.raises(UserError, match="has no champion"):
        roll_back(lite, Champions(MODEL, "memory", memory_registry()), 0, "Ada", "worse")


def test_the_job_rolls_back_in_a_real_registry_without_torch(tmp_path, plan_of, batch_row, capsys, monkeypatch):
    uri, where = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "retrain.db")
    ledger, champions = Ledger(where), Champions(MODEL, uri)
    two_nights(ledger, champions, MlflowClient(tracking_uri=uri), plan_of)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    asked = ["--model", MODEL, "--storage", str(tmp_path), "--by", "Ada", "--reason", "worse on doors"]
    script = str(Path(__file__).parents[2] / "jobs" / "rollback.py")
    code = f"import runpy, sys\nsys.argv = {[script, *asked]!r}\n" + (
        f"try:\n    runpy.run_path({script!r}, run_name='__main__')\nexcept SystemExit as end:\n"
        "    print(end.code, 'torch' in sys.modules, 'ray' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith(f"{MODEL}: version 2 is champion, version 3 rolled back")
    assert done.stdout.splitlines()[1] == "0 False False"
    assert aliases(champions) == {"champion": 2, "challenger": 3, "previous": 1}
    assert job.main([*asked, "--mlflow", uri]) == 0
    assert aliases(champions)["champion"] == 1
    assert job.main([*asked, "--take-back", "a"]) == 0
    assert set(ledger.left_out(MODEL)) == {"b"}
    batch = write_batch(str(tmp_path / "batches"), [batch_row("video")], {"sealed": 1.0})["batch"]
    asked += ["--batches", str(tmp_path / "batches")]
    assert job.main([*asked, "--leave-out", batch]) == 0
    assert set(ledger.left_out(MODEL)) == {"b", batch}
    for unknown in (["--leave-out", "c"], ["--take-back", "c"]):
        assert guarded(job.main, [*asked, *unknown]) == WRONG_REQUEST
        assert "There is no such batch" in capsys.readouterr().err
    assert guarded(job.main, asked) == WRONG_REQUEST
    assert "Nothing was before version 1" in capsys.readouterr().err
    ledger.close()
