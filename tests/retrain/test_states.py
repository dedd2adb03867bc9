"""Whatever people and jobs do, in whatever order, killed anywhere: no batch is used twice, lost, or used by a refusal.

The ledger is a real SQLite file, batches are real files, planning and the steps of a night are those of production.
Training, scoring and the gates are stand-ins: a plan passes unless one of its batches is bad. The registry is the one
in memory that test_champions.py holds to MLflow's behaviour. A kill happens before or after any change of the registry
and at every boundary of a night; nothing of what the killed job holds is cleaned up.
"""

import shutil
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipeline.annotate.batches import write_batch
from pipeline.core.errors import UserError
from pipeline.retrain import night, plan
from pipeline.retrain.champions import PLAN_TAG, Champions
from pipeline.retrain.errors import HeldError, LeaseLostError, OnHoldError
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import Trained, run_plan
from pipeline.retrain.plan import survey
from pipeline.retrain.rollback import roll_back
from pipeline.retrain.tables import events
from pipeline.retrain.verdict import Verdict
from pipeline.train import checkpoint

MODEL = "star-tiny"
LEASE_S = 600.0
POOL = 8
"""Batches that people may seal; every third one is bad."""
STATES = {"new", "in work", "consumed", "evaluated", "left out"}
KILLS = st.none() | st.integers(0, 30)
"""Boundaries that a job passes before it is killed; an undisturbed night passes 30 or so."""
WHO = ("Ada", "because")


class KilledError(BaseException):
    """The process is gone; nothing catches it."""


def refusal(action):
    """What a person is told who asks for it; empty when it is done."""
    try:
        action()
    except UserError as error:
        return str(error)
    return ""


class Fuse:
    """Kills after so many boundaries; unset it never does."""

    def __init__(self):
        self.left = None

    def burn(self, *_):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise KilledError


class Registry(Champions):
    """Champions whose new versions have no files."""

    def _make(self, run_id, checkpoint, tags):
        tags = {"star.checkpoint": checkpoint, **tags}
        return int(self._client.create_model_version(self.model, "absent", run_id, tags).version)


class Work:
    """Training and scoring in no time; the same plan gives the same."""

    def __init__(self, bad):
        self._bad = bad

    def train(self, plan):
        return Trained(run_id=f"run-{plan.plan_key[:8]}", checkpoint=f"runs/{plan.plan_key[:8]}")

    def score(self, plan, trained):
        return Evidence(
            scored=Scored(ids=("v",), classes=("good", "bad"), label_N=(0,), champion_N=(True,), candidate_N=(True,)),
            edited=("bad",) if self._bad & set(plan.batches) else (),
            attention=Attention(
                heldout_videos=0,
                heldout_before=None,
                heldout_after=None,
                inversion_before=1.0,
                inversion_after=1.0,
                spread_before=1.0,
                spread_after=1.0,
            ),
            health=BatchHealth(
                clips=1, kappa=None, doubled=0, flagged=0.0, levels=(0.3, 0.3, 0.4), unset=0.0, by_class={}
            ),
            integrity=Integrity(
                finite=True,
                extractor_identical=True,
                parameters_before=1,
                parameters_after=1,
                latency_before_ms=1.0,
                latency_after_ms=1.0,
            ),
        )

    def report(self, plan, trained, evidence, verdict):
        return f"pages/{plan.plan_key}.html"


class Nights(RuleBasedStateMachine):
    """Two jobs, people, and a world that is checked after every rule."""

    def __init__(self, folder, pool, tools):
        super().__init__()
        self.folder, self.pool, self.tools = folder, pool, tools
        self.waiting = list(pool)
        self.bad = set(pool[2::3])
        self.sealed, self.verdicts = set(), {}

    @initialize()
    def begin(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "batches").mkdir(parents=True)
        self.clock, self.fuse = self.tools.clock(), Fuse()
        self.registry = self.tools.registry(self.fuse.burn)
        self.registry.create_registered_model(MODEL)
        self.registry.create_model_version(MODEL, "absent", tags={"star.checkpoint": self.tools.base})
        self.champions = Registry(MODEL, "memory", self.registry)
        self.champions.adopt(1)
        self.ledgers = [Ledger(str(self.folder / "retrain.db"), self.clock) for _ in range(2)]
        self.ledger = self.ledgers[0]
        self.policy = SimpleNamespace(id="standard-1@0")
        self.work = Work(self.bad)
        self.seen = self.found = None

    def teardown(self):
        for ledger in getattr(self, "ledgers", ()):
            ledger.close()

    def look(self):
        """What there is to do; looked up anew when anything has happened."""
        with self.ledger.alone() as connection:
            lines = connection.scalar(sa.select(sa.func.max(events.c.sequence)))
        now = (lines, len(self.sealed), self.policy.id, self.champions.champion().number)
        if now != self.seen:
            found = survey(self.ledger, self.champions, str(self.folder / "batches"), (), self.policy.id)
            self.seen, self.found = now, found
        return self.found

    def night(self, worker, at):
        """What jobs/retrain.py does; returns whether there was something to do."""
        ledger = self.ledgers[worker]
        lease = ledger.lease(MODEL, f"worker {worker}", LEASE_S)
        try:
            found = survey(ledger, self.champions, str(self.folder / "batches"), (), self.policy.id).plan
            if found is not None:
                run_plan(found, ledger, self.champions, lease, self.work, self.policy, at)
        except (OnHoldError, LeaseLostError):
            pass
        ledger.release(lease)
        return found is not None

    def killable(self, kill, action):
        """Do something that a kill may end after `kill` boundaries."""
        self.fuse.left = kill
        try:
            action()
        except KilledError:
            pass
        finally:
            self.fuse.left = None

    def lapse(self):
        self.clock.now += LEASE_S + 1

    def has_work(self):
        return self.look().plan is not None

    def can_roll_back(self):
        return self.champions.champion().parent is not None or self.ledger.unfinished_rollback(MODEL) is not None

    def blocked(self):
        rows = self.ledger.rows()
        return [r.plan.plan_key for r in rows if r.outcome == "refused" or self.ledger.is_rolled_back(r.plan.plan_key)]

    # What may happen

    @precondition(lambda self: self.waiting)
    @rule()
    def seal(self):
        batch = self.waiting.pop(0)
        shutil.copytree(self.tools.batches / batch, self.folder / "batches" / batch)
        self.sealed.add(batch)

    @precondition(lambda self: self.has_work())
    @rule(kill=KILLS)
    def retrain(self, kill):
        self.lapse()
        self.killable(kill, lambda: self.night(0, self.fuse.burn))

    @precondition(lambda self: self.has_work())
    @rule(pause=st.integers(0, 25), lapsed=st.booleans(), kill=KILLS)
    def race(self, pause, lapsed, kill):
        """One worker stops at a boundary and wakes up after another has worked, or has tried to."""
        self.lapse()
        passed = iter(range(1000))

        def at(boundary):
            if next(passed) != pause:
                return
            if lapsed:
                self.lapse()
                self.killable(kill, lambda: self.night(1, self.fuse.burn))
            else:
                with pytest.raises(HeldError, match="worker 0"):
                    self.night(1, self.fuse.burn)

        self.night(0, at)

    @precondition(lambda self: self.can_roll_back())
    @rule(kill=KILLS)
    def roll_back(self, kill):
        def act():
            roll_back(self.ledger, self.champions, 0, *WHO, self.fuse.burn)

        if said := refusal(lambda: self.killable(kill, act)):  # nights have moved on since a rollback was killed
            assert "is not the champion" in said
            roll_back(self.ledger, self.champions, self.champions.champion().number, *WHO)

    @rule(release=st.sampled_from((True, True, False)))
    def hold(self, release):
        """Nothing begins while retraining is on hold; mostly somebody lets it go on."""
        self.ledger.hold(*WHO)
        before = (self.ledger.rows(), self.ledger.events(), self.registry.models[MODEL].aliases.copy())
        assert self.look().plan is None
        assert (self.ledger.rows(), self.ledger.events(), self.registry.models[MODEL].aliases) == before
        if release:
            self.ledger.release_hold(*WHO)

    @precondition(lambda self: self.blocked())
    @rule(data=st.data())
    def override(self, data):
        key = data.draw(st.sampled_from(self.blocked()))
        if said := refusal(lambda: self.ledger.override(key, *WHO)):
            assert "nothing to override now" in said

    @precondition(lambda self: self.sealed)
    @rule(data=st.data(), back=st.booleans())
    def leave_out(self, data, back):
        batch = data.draw(st.sampled_from(sorted(self.sealed)))
        (self.ledger.take_back if back else self.ledger.leave_out)(MODEL, batch, *WHO)

    @rule()
    def change_policy(self):
        self.policy = SimpleNamespace(id=f"standard-{len(self.ledger.events())}@0")

    # What must always hold

    @invariant()
    def the_champion_was_not_refused(self):
        champion = self.champions.champion()
        if not champion.plan_key:
            return
        row = self.ledger.row(champion.plan_key)
        assert row.verdict is not None  # decided before it moved
        said = [e.action for e in self.ledger.events() if e.subject == champion.plan_key]
        assert row.verdict["passed"] or "override" in said
        assert row.outcome in (None, "promoted")
        last = [action for action in said if action in ("roll_back", "override")][-1:]
        assert last != ["roll_back"] or self.ledger.unfinished_rollback(MODEL) == champion.number

    @invariant()
    def only_the_holder_of_the_lease_writes(self):
        holder = ""
        for event in self.ledger.events():
            holder = event.actor if event.action == "lease" else holder
            if event.action in ("begin", "step", "decide", "move", "finish", "give_back"):
                assert event.actor in (holder, WHO[0])  # who rolls back may end a plan

    @invariant()
    def no_batch_is_used_twice_by_a_lineage(self):
        for version in self.champions.versions():
            trained, added, one = set(version.tags.get("star.batches", "").split(",")) - {""}, [], version
            while one.parent is not None:
                added += one.tags["star.new_batches"].split(",")
                one = self.champions.version(one.parent)
            assert len(added) == len(set(added))
            assert set(added) == trained
        champion = self.champions.champion()
        finished = champion.plan_key and self.ledger.row(champion.plan_key).outcome
        if finished:
            trained = set(champion.tags["star.batches"].split(","))
            assert set(self.ledger.used(MODEL, champion.number)) == trained

    @invariant()
    def no_sealed_batch_is_lost(self):
        batches = self.look().batches
        assert set(batches) == self.sealed
        assert set(batches.values()) <= STATES

    @invariant()
    def the_use_of_batches_is_their_plans_outcome(self):
        rows = self.ledger.rows()
        assert sum(row.outcome is None for row in rows) <= 1
        for row in rows:
            use = {"promoted": "consumed", "refused": "evaluated"}.get(row.outcome)
            uses = dict.fromkeys(row.plan.new_batches, use) if use else {}
            assert self.ledger.uses(row.plan.plan_key) == uses

    @invariant()
    def a_verdict_never_changes_and_a_plan_has_one_version(self):
        for row in self.ledger.rows():
            if row.verdict is not None:
                assert self.verdicts.setdefault(row.plan.plan_key, row.verdict) == row.verdict
        keys = [version.tags[PLAN_TAG] for version in self.champions.versions() if PLAN_TAG in version.tags]
        assert len(keys) == len(set(keys))

    def settle(self):
        """In the end, with nobody in the way, every batch finds its place and jobs come to rest."""
        self.ledger.release_hold(*WHO)
        if self.ledger.unfinished_rollback(MODEL) == self.champions.champion().number:
            roll_back(self.ledger, self.champions, 0, *WHO)
        for _ in range(4):  # at most a decided plan, one with everything new, and one in another's place
            self.lapse()
            if not self.night(0, self.fuse.burn):
                break
        else:
            pytest.fail("there is always another plan")
        assert set(self.look().batches.values()) <= {"consumed", "evaluated", "left out"}


class SettledNights(Nights):
    """The same, brought to rest at the end."""

    def teardown(self):
        if hasattr(self, "ledgers"):
            self.settle()
        super().teardown()


@pytest.fixture
def machine(tmp_path, tmp_path_factory, batch_row, memory_registry, make_clock, tiny_checkpoint, monkeypatch):
    """A function that makes the machine; what a plan reads of its base is read once."""
    source = tmp_path_factory.mktemp("pool")
    pool = [write_batch(str(source), [batch_row(f"video-{n}")], {"sealed": 1.0})["batch"] for n in range(POOL)]
    base = checkpoint.read(tiny_checkpoint)
    monkeypatch.setattr(checkpoint, "read", lambda folder: base)
    monkeypatch.setattr(plan, "code_version", lambda: "sources-00")

    def judge(evidence, policy):
        return Verdict(passed=not evidence.edited, policy=policy.id, results=())

    monkeypatch.setattr(night, "judge", judge)
    tools = SimpleNamespace(clock=make_clock, registry=memory_registry, base=tiny_checkpoint, batches=source)
    return lambda: SettledNights(tmp_path / "world", pool, tools)


def explore(machine, examples, steps):
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_no_order_of_events_breaks_the_ledger(machine):
    explore(machine, examples=10, steps=25)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_order_of_events_breaks_the_ledger_in_long_runs(machine):
    explore(machine, examples=300, steps=50)
