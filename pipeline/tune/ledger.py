"""What a sweep is and how far it has come, in its folder: a file for the sweep, and one for every trial.

The ledger is the truth. A trial is named by what it trains, so the same command after a crash, or with more trials,
finds what is done, goes on with what is not, and draws nothing twice.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import Passport, compare_passports
from pipeline.tracking.run import flatten
from pipeline.train.recipe import RunRecipe
from pipeline.train.runs import FREE, check_name, differences

SWEEP = "sweep.json"
CONTROL = 0
"""Number of the control."""
State = Literal["planned", "finished", "stopped", "failed"]
Searcher = Literal["random", "grid", "optuna"]
Scheduler = Literal["fifo", "asha", "pbt"]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A validation on the way."""

    step: int
    epoch: float
    metrics: Mapping[str, float]
    """As the task's `summarise` names them."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe of a sweep."""

    number: int
    """From 0, the control."""
    key: str
    """Digest of all that decides what is trained."""
    run: str
    """Name of its run in the run storage."""
    values: Mapping[str, Any]
    """Of the searched fields; empty for the control."""
    state: State = "planned"
    rungs: tuple[Rung, ...] = ()
    checkpoint: str = ""
    """The last one."""
    mlflow_run_id: str = ""
    seconds: float = 0.0
    """Of its process in the attempt that ended it."""
    why: str = ""
    """Why it failed, or was stopped."""
    start: str = ""
    """Checkpoint of another trial that it goes on from (population-based training); empty: the first weights."""
    until: float = 0.0
    """Epoch at which it stops for now (population-based training); 0: the recipe's last."""

    @property
    def is_done(self) -> bool:
        """True when nothing is left to train; a trial that failed is tried again."""
        return self.state in ("finished", "stopped")

    @property
    def name(self) -> str:
        """For people."""
        return "control" if self.number == CONTROL else f"trial {self.number}"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a sweep that sweep. A repeated command may ask for more trials, on other machines, of the same one."""

    name: str
    recipe: dict[str, Any]
    space: tuple[str, ...]
    searcher: Searcher
    scheduler: Scheduler
    schedule: Mapping[str, float]
    """What the scheduler stops and exchanges by; empty where every trial is trained to its end."""
    seed: int
    points: int
    """Of a continuous field in a grid."""
    target: Mapping[str, str]
    """The job that trains a trial, and what decides its results beside recipe and data: the base's weights, the stage
    of a system."""
    passport: str
    """Digest of all data that a trial reads, wherever it lies."""
    passport_parts: Mapping[str, str]
    """By which other data are told."""
    told_of: str = ""
    """What searcher and scheduler hear of beside top-1: attention, of a fine-tuning. Empty where neither hears of any
    result, and in a sweep from before attention counted."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Random; MLflow's parent run carries it."""


def key_of(recipe: RunRecipe, start: str = "") -> str:
    """Return the digest of what a recipe trains: of all fields but name, places, machines and the like."""
    plain = flatten(to_dict(recipe))
    deciding = {path: value for path, value in plain.items() if path != "name" and not path.startswith(FREE)}
    text = json.dumps([deciding, start] if start else deciding, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Ledger:
    """The folder of a sweep; its one writer is the sweep's driver.

    Args:
        root: run storage, a path or URI.
        name: of the sweep.

    Raises:
        UserError: a name that no folder can have.
    """

    def __init__(self, root: str, name: str) -> None:
        check_name(name)
        self.root = root
        self.name = name
        self.folder = storage.join(root, name)

    def open(self, asked: Identity) -> tuple[Identity, bool]:
        """Return the sweep of this folder, written when it is new, and whether it existed.

        Raises:
            UserError: another sweep has the name; with every difference.
        """
        uri = storage.join(self.folder, SWEEP)
        try:
            values: dict[str, Any] = storage.read_json(uri)
        except FileNotFoundError:
            storage.write_json(uri, asdict(asked))
            return asked, False
        # A sweep from before these fields were kept says nothing of them, so it is none that can go on.
        kept = {"schedule": {}, "target": {}, "passport": "", "passport_parts": {}} | values
        old = Identity(**{**kept, "space": tuple(values["space"])})
        changed = differences(old.recipe, asked.recipe)
        for what in ("target", "schedule"):
            changed += differences({what: getattr(old, what)}, {what: getattr(asked, what)})
        changed += _other_data(old, asked)
        if old.told_of != asked.told_of:
            tell = {what: f"top-1 and {what}" if what else "top-1 alone" for what in (old.told_of, asked.told_of)}
            changed.append(
                f"its {asked.searcher} and {asked.scheduler} judged by {tell[old.told_of]} -> {tell[asked.told_of]} "
                "(begun by another version of this code, which cannot be undone: give another --name)"
            )
        for what in ("space", "searcher", "scheduler", "seed", "points"):
            if getattr(old, what) != getattr(asked, what):
                changed.append(f"{what} {_words(getattr(old, what))} -> {_words(getattr(asked, what))}")
        if changed:
            raise UserError(
                problem(
                    f"Sweep {self.name} exists and is another one",
                    got="; ".join(changed),
                    allowed="the same target, data, recipe, space, searcher, scheduler and seed; --trials may grow",
                    fix="undo the differences to go on with it, or give another --name",
                )
            )
        return old, True

    def read(self, number: int) -> Trial | None:
        """Return a trial, or None when it has not been drawn."""
        try:
            values: dict[str, Any] = storage.read_json(self._uri(number))
        except FileNotFoundError:
            return None
        return Trial(**{**values, "rungs": tuple(Rung(**rung) for rung in values["rungs"])})

    def known(self, number: int) -> Trial:
        """Return a trial that has been drawn."""
        trial = self.read(number)
        if trial is None:
            raise RuntimeError(f"trial {number} of sweep {self.name} has not been drawn")
        return trial

    def write(self, trial: Trial) -> None:
        """Publish a trial; it appears whole or not at all."""
        storage.write_json(self._uri(trial.number), asdict(trial))

    def plan(self, number: int, values: Mapping[str, Any], recipe: RunRecipe) -> Trial:
        """Publish and return a new trial."""
        key = key_of(recipe)
        trial = Trial(number=number, key=key, run=f"{self.name}-{key}", values=values)
        self.write(trial)
        return trial

    def trials(self) -> list[Trial]:
        """Return all that have been drawn, in order."""
        found: list[Trial] = []
        while (trial := self.read(len(found))) is not None:
            found.append(trial)
        return found

    def update(self, number: int, **changes: Any) -> Trial:
        """Publish a trial with some fields changed."""
        trial = replace(self.known(number), **changes)
        self.write(trial)
        return trial

    def _uri(self, number: int) -> str:
        return storage.join(self.folder, "trials", f"{number:04d}.json")


def with_rungs(old: Sequence[Rung], new: Sequence[Rung]) -> tuple[Rung, ...]:
    """Return rungs in the order of their steps, each step once: a resumed run tells its last one again."""
    by_step = {rung.step: rung for rung in (*new, *old)}
    return tuple(by_step[step] for step in sorted(by_step))


def _other_data(old: Identity, asked: Identity) -> list[str]:
    if old.passport == asked.passport:
        return []
    before, now = (Passport(one.passport, one.passport_parts) for one in (old, asked))
    lines = compare_passports(before, now)
    return [f"data passport {old.passport[:12] or 'absent'} -> {asked.passport[:12]} ({', '.join(lines)})"]


def _words(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)
