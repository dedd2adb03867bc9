"""Aliases in a real registry: SQLite, and one pass against a running MLflow server; any move may be killed.

The registry in memory that other tests use stands beside MLflow in every test here.
"""

import os
import socket
import subprocess
import sys
import time

import pytest
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.retrain.champions import ALIASES, Champions
from pipeline.retrain.errors import SupersededError

# MLflow's model registry uses an option that SQLAlchemy 2.1 has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

MODEL = "star-tiny"


class KilledError(Exception):
    """What a test raises where a process would be killed."""


def killed_at(boundary):
    def at(reached):
        if reached == boundary:
            raise KilledError(reached)

    return at


def aliases(champions):
    found = {alias: champions.at(alias) for alias in ALIASES}
    return {alias: version.number for alias, version in found.items() if version is not None}


def version_made(client, model, parent=None, plan_key="", checkpoint="runs/c", run_id=None):
    """A version whose files nobody opens; returns its number."""
    source = f"runs:/{run_id}/model" if run_id else "file:///absent"
    tags = {"star.checkpoint": checkpoint}
    tags |= {"star.parent": str(parent)} if parent else {}
    tags |= {"star.plan_key": plan_key} if plan_key else {}
    return int(client.create_model_version(model, source, run_id, tags=tags).version)


@pytest.fixture(scope="module", params=["mlflow", "memory"])
def registry(request, tmp_path_factory, memory_registry):
    """A registry of each kind: its URI and its client."""
    if request.param == "memory":
        return "memory", memory_registry()
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    return uri, MlflowClient(tracking_uri=uri)


@pytest.fixture
def champions(registry, request):
    """A model with three versions: people's, then two plans', each following the one before."""
    uri, client = registry
    model = request.node.name.replace("/", "-")
    client.create_registered_model(model)
    version_made(client, model)
    version_made(client, model, 1, "plan-a")
    version_made(client, model, 2, "plan-b")
    return Champions(model, uri, client)


def test_a_model_that_is_not_there_has_no_champion(registry):
    absent = Champions("absent", *registry)
    assert absent.champion() is absent.previous() is absent.made_by("plan-a") is None
    assert absent.versions() == []
    with pytest.raises(UserError, match="There is no such version"):
        absent.version(1)


def test_a_version_says_what_it_was_registered_with(champions):
    version = champions.version(2)
    assert (version.number, version.plan_key, version.parent, version.checkpoint) == (2, "plan-a", 1, "runs/c")
    assert version.base == "runs/c"
    assert champions.version(1).parent is None
    assert [one.number for one in champions.versions()] == [1, 2, 3]
    assert champions.made_by("plan-b").number == 3
    assert champions.made_by("plan-c") is None
    with pytest.raises(UserError, match="There is no such version"):
        champions.version(4)


def test_the_first_champion_is_adopted_once(champions, registry):
    assert champions.champion() is None
    for _ in range(2):
        assert champions.adopt(1).number == 1
    with pytest.raises(UserError, match="has a champion"):
        champions.adopt(2)
    assert aliases(champions) == {"champion": 1}


def test_a_version_without_its_checkpoint_is_not_adopted(champions, registry):
    number = version_made(registry[1], champions.model, checkpoint="")
    with pytest.raises(UserError, match="does not say where its checkpoint is"):
        champions.adopt(number)


def test_promotion_moves_challenger_previous_champion(champions):
    champions.adopt(1)
    champions.challenge(2, 1)
    assert aliases(champions) == {"champion": 1, "challenger": 2}
    moved = []
    champions.promote(2, 1, moved.append)
    assert moved == ["challenger", "previous", "champion"]
    assert aliases(champions) == {"champion": 2, "challenger": 2, "previous": 1}
    assert (champions.champion().number, champions.previous().number) == (2, 1)


@pytest.mark.parametrize("boundary", ["challenger", "previous", "champion"])
def test_a_promotion_killed_between_moves_is_finished_by_doing_it_again(champions, boundary):
    champions.adopt(1)
    with pytest.raises(KilledError):
        champions.promote(2, 1, killed_at(boundary))
    assert champions.champion().number == (2 if boundary == "champion" else 1)
    for _ in range(2):
        champions.promote(2, 1)
        assert aliases(champions) == {"champion": 2, "challenger": 2, "previous": 1}


@pytest.mark.parametrize("move", ["challenge", "promote"])
def test_a_candidate_compared_with_another_champion_moves_nothing(champions, move):
    champions.adopt(1)
    champions.promote(2, 1)
    before = aliases(champions)
    with pytest.raises(SupersededError, match="is version 2, no longer version 1"):
        getattr(champions, move)(3, 1)
    assert aliases(champions) == before


def test_without_a_champion_nothing_is_promoted(champions):
    with pytest.raises(SupersededError, match="is none"):
        champions.promote(2, 1)
    assert aliases(champions) == {}


def test_rollback_goes_back_to_night_zero_step_by_step(champions):
    champions.adopt(1)
    champions.promote(2, 1)
    champions.promote(3, 2)
    moved = []
    assert champions.rollback(3, moved.append).number == 2
    assert moved == ["champion", "previous"]  # the first move is the rollback
    assert aliases(champions) == {"champion": 2, "challenger": 3, "previous": 1}
    assert champions.rollback(2).number == 1
    assert aliases(champions) == {"champion": 1, "challenger": 3}
    with pytest.raises(UserError, match="Nothing was before version 1"):
        champions.rollback(1)


@pytest.mark.parametrize("boundary", ["champion", "previous"])
def test_a_rollback_killed_between_moves_is_finished_by_doing_it_again(champions, boundary):
    champions.adopt(1)
    champions.promote(2, 1)
    champions.promote(3, 2)
    with pytest.raises(KilledError):
        champions.rollback(3, killed_at(boundary))
    for _ in range(2):
        assert champions.rollback(3).number == 2
        assert aliases(champions) == {"champion": 2, "challenger": 3, "previous": 1}


def test_what_is_no_longer_champion_is_not_rolled_back(champions):
    champions.adopt(1)
    champions.promote(2, 1)
    champions.promote(3, 2)
    champions.rollback(3)
    champions.rollback(2)
    with pytest.raises(SupersededError, match="is version 1, no longer version 3"):
        champions.rollback(3)
    assert champions.champion().number == 1


def test_versions_that_people_registered_go_back_by_the_alias(champions, registry):
    version_made(registry[1], champions.model)
    for alias, number in (("champion", 4), ("previous", 2)):
        registry[1].set_registered_model_alias(champions.model, alias, str(number))
    assert champions.rollback(4).number == 2
    assert aliases(champions) == {"champion": 2, "previous": 1}


def test_a_registry_that_is_away_is_named():
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for ask in (Champions(MODEL, uri).champion, Champions(MODEL, uri).versions):
            with pytest.raises(UserError, match="The registry could not be reached") as caught:
                ask()
            assert uri in str(caught.value)


def test_registering_a_plans_candidate_happens_once(tmp_path, tiny_checkpoint, make_checkpoint):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    run = client.create_run(client.create_experiment("star", artifact_location=str(tmp_path / "artifacts"))).info
    champions = Champions(MODEL, uri)
    number = champions.register("plan-a", run.run_id, tiny_checkpoint, {"star.parent": "1", "star.base": "runs/b"})
    assert champions.register("plan-a", run.run_id, tiny_checkpoint, {"star.parent": "1"}) == number
    version = champions.version(number)
    assert (version.plan_key, version.parent, version.base, version.run_id) == ("plan-a", 1, "runs/b", run.run_id)
    assert version.checkpoint == tiny_checkpoint
    # The same weights again are another plan's version only if they are of another run.
    other = client.create_run(run.experiment_id).info.run_id
    assert champions.register("plan-b", other, make_checkpoint("baseline"), {}) == number + 1
    assert [one.plan_key for one in champions.versions()] == ["plan-a", "plan-b"]


@pytest.mark.slow
def test_a_running_server_behaves_the_same(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stores = [f"--backend-store-uri=sqlite:///{tmp_path}/mlflow.db", f"--artifacts-destination={tmp_path}/artifacts"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1", *stores],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    champions = Champions(MODEL, f"http://127.0.0.1:{port}")
    client = MlflowClient(tracking_uri=champions.uri)
    try:
        for _ in range(600):
            assert server.poll() is None
            try:
                assert champions.champion() is None
                break
            except UserError:
                time.sleep(0.1)
        client.create_registered_model(MODEL)
        run_id = client.create_run("0").info.run_id  # a server takes files of runs alone
        for parent, plan_key in ((None, ""), (1, "plan-a"), (2, "plan-b")):
            version_made(client, MODEL, parent, plan_key, run_id=run_id)
        assert champions.versions()[1].plan_key == "plan-a"
        with pytest.raises(UserError, match="There is no such version"):
            champions.version(4)
        assert champions.adopt(1).number == 1
        with pytest.raises(KilledError):
            champions.promote(2, 1, killed_at("previous"))
        champions.promote(2, 1)
        champions.promote(3, 2)
        assert champions.rollback(3).number == 2
        assert champions.rollback(2).number == 1
        assert aliases(champions) == {"champion": 1, "challenger": 3}
        with pytest.raises(SupersededError):
            champions.promote(3, 2)
    finally:
        server.terminate()
        server.wait(timeout=30)
