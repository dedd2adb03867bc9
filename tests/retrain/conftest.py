"""A ledger of each kind, plans to put into it, and a clock that people move."""

import pytest

from pipeline.retrain.ledger import Ledger
from pipeline.retrain.plan import Plan

MODEL = "star-tiny"
POLICY = "standard-1@0123456789ab"


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
