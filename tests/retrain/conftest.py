"""A ledger of each kind, plans to put into it, a clock that people move, and a registry in memory."""

from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST

from pipeline.annotate.batches import BatchRow
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.plan import Plan

MODEL = "star-tiny"
POLICY = "standard-1@0123456789ab"
PASSED, FAILED = {"passed": True, "table": "fine"}, {"passed": False, "table": "worse"}


def batch_row(video, **changes):
    """What one person said of a video of nine frames."""
    values = {
        "video_id": video,
        "dataset": "folder",
        "label": 0,
        "num_frames": 9,
        "fps": 12.0,
        "scores": (0.0, 0.5, 1.0) * 3,
        "source": (0,) * 9,
        "init": "blank",
        "annotators": ("a",),
        "n_annotators": 1,
        "kappa": None,
        "decision": "single",
        "model_version_shown": "tiny, step 3",
        "editor_version": "1",
        "submitted_at": 1.0,
        "seconds_spent": 20.0,
    }
    return BatchRow(**(values | changes))


@pytest.fixture(scope="session", name="batch_row")
def batch_row_fixture():
    return batch_row


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


def plan_of(new, champion=1, lineage=(), key="", model=MODEL, policy=POLICY):
    """A plan without files: what the ledger keeps of one."""
    return Plan(
        plan_key=key or f"plan-{champion}-{'-'.join(new)}",
        model=model,
        champion=champion,
        champion_run="run",
        champion_checkpoint="runs/champion",
        base="runs/base",
        new_batches=tuple(new),
        batches=tuple(sorted({*lineage, *new})),
        batch_uris={batch: f"batches/{batch}" for batch in (*lineage, *new)},
        recipe={"name": "tiny", "edits": {"gamma_t": 10.0}},
        code="sources-00",
        policy=policy,
    )


@pytest.fixture(scope="session", name="plan_of")
def plan_of_fixture():
    return plan_of


@pytest.fixture(scope="session", name="make_clock")
def make_clock_fixture():
    return Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, new_database, clock):
    """An empty ledger of each kind."""
    opened = Ledger(new_database(request.param), clock)
    yield opened
    opened.close()


@pytest.fixture
def lite(tmp_path, clock):
    """An empty SQLite ledger, for what does not depend on the kind."""
    opened = Ledger(str(tmp_path / "retrain.db"), clock)
    yield opened
    opened.close()


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
    """Take a plan to its refusal."""
    decided(ledger, lease, plan, FAILED)
    ledger.step_done(plan.plan_key, lease, "refused", {})
    return ledger.finish(plan.plan_key, lease, "refused")


def events_of(ledger, action):
    """What the record has of one kind."""
    return [event for event in ledger.events() if event.action == action]


@pytest.fixture(scope="session", name="decided")
def decided_fixture():
    return decided


@pytest.fixture(scope="session", name="promoted")
def promoted_fixture():
    return promoted


@pytest.fixture(scope="session", name="refused")
def refused_fixture():
    return refused


@pytest.fixture(scope="session", name="events_of")
def events_of_fixture():
    return events_of


class MemoryRegistry:
    """What `Champions` asks of MLflow's client; test_champions.py holds both to the same tests.

    `changed` is called before and after every change: tests kill there.
    """

    def __init__(self, changed=lambda: None):
        self.models = {}
        self.changed = changed

    def create_registered_model(self, name):
        self.models[name] = SimpleNamespace(versions=[], aliases={})

    def create_model_version(self, name, source, run_id=None, tags=None):
        self.changed()
        versions = self._model(name).versions
        number = len(versions) + 1
        versions.append(SimpleNamespace(version=number, run_id=run_id, source=source, tags=dict(tags or {})))
        self.changed()
        return versions[-1]

    def get_model_version(self, name, version):
        found = self._model(name).versions
        if not 1 <= int(version) <= len(found):
            raise MlflowException("no such version", RESOURCE_DOES_NOT_EXIST)
        return found[int(version) - 1]

    def get_model_version_by_alias(self, name, alias):
        aliases = self._model(name).aliases
        if alias not in aliases:
            raise MlflowException("no such alias", INVALID_PARAMETER_VALUE)
        return self.get_model_version(name, aliases[alias])

    def search_model_versions(self, asked):
        name = asked.removeprefix("name = '").removesuffix("'")
        return list(self.models[name].versions) if name in self.models else []

    def set_registered_model_alias(self, name, alias, version):
        self.changed()
        self.get_model_version(name, version)
        self._model(name).aliases[alias] = version
        self.changed()

    def delete_registered_model_alias(self, name, alias):
        self.changed()
        self._model(name).aliases.pop(alias, None)
        self.changed()

    def _model(self, name):
        if name not in self.models:
            raise MlflowException("no such model", RESOURCE_DOES_NOT_EXIST)
        return self.models[name]


@pytest.fixture(scope="session", name="memory_registry")
def memory_registry_fixture():
    return MemoryRegistry
