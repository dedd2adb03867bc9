"""Population-based training (Jaderberg et al. 2017) in step: all train as far, then the last take from the first.

Ray's own needs Tune checkpoints, which a trial over Ray Train has none of. This one keeps everything in the ledger: an
exchange is a function of the members' scores at its epoch, so a driver that dies in the middle of one repeats it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core import storage
from pipeline.train.checkpoint import STATE
from pipeline.tune.choose import rank_of, score_of
from pipeline.tune.ledger import Trial, key_of
from pipeline.tune.space import Distribution, Space, Values

if TYPE_CHECKING:
    from pipeline.tune.run import Sweeping

QUARTER = 0.25
"""Share of the population that takes over another's weights at each exchange."""
FACTORS = (0.8, 1.25)
"""By which a number is then multiplied."""
REDRAWN = 0.25
"""Probability with which a choice is then drawn anew."""


def train_population(sweeping: Sweeping, numbers: Sequence[int], train: Callable[[list[int]], None]) -> None:
    """Train a population to the recipe's last epoch, with an exchange every `grace` epochs.

    Args:
        sweeping: the sweep; the control has been trained.
        numbers: of the members.
        train: trains members as far as the ledger wants them.
    """
    ledger, setting, grace = sweeping.ledger, sweeping.setting, sweeping.request.grace
    epochs = setting.recipe_of(sweeping.draw(numbers[0])).train.epochs
    for until in [*range(grace, epochs, grace), epochs]:
        for number in numbers:
            if (member := sweeping.draw(number)).until == 0:
                ledger.write(replace(member, until=float(min(grace, epochs))))
        behind = [n for n in numbers if not _has(ledger.known(n), until) and not ledger.known(n).is_done]
        if behind:
            train(behind)
        if until < epochs:
            exchange(sweeping, numbers, float(until), float(min(until + grace, epochs)))


def exchange(sweeping: Sweeping, numbers: Sequence[int], at: float, until: float) -> None:
    """Let the last quarter go on from the first quarter's weights, with values near theirs; all are wanted to `until`.

    A member that was wanted so far already, by an exchange that was cut short, stays as it is.
    """
    ledger, setting = sweeping.ledger, sweeping.setting
    members = [ledger.known(number) for number in numbers]
    ranks = {member.number: _rank(sweeping, member, at) for member in members if _has(member, at)}
    order = sorted(ranks, key=lambda number: (-ranks[number], number))
    count = min(math.ceil(QUARTER * len(order)), len(order) // 2)
    first, last = order[:count], order[len(order) - count :]
    for member in members:
        if member.until >= until or member.state == "failed":
            continue
        if member.number not in last:
            ledger.write(replace(member, until=until))
            continue
        rng = np.random.default_rng([sweeping.request.seed, member.number, round(at)])
        donor = ledger.known(first[int(rng.integers(len(first)))])
        values = near(donor.values, sweeping.request.space, rng)
        start = storage.join(ledger.folder, "starts", f"{member.number:04d}-{round(at):04d}")
        key = key_of(setting.run_of(member.number, values), f"{donor.key} {at:g}")
        # A copy: the donor's own checkpoint may be gone before this member gets its turn.
        storage.publish_bytes(storage.join(start, STATE), storage.read_bytes(storage.join(donor.checkpoint, STATE)))
        run = f"{ledger.name}-{key}"
        ledger.write(replace(member, key=key, run=run, values=values, start=start, until=until, checkpoint=""))
        sweeping.say(f"epoch {at:g}: {member.name} goes on from {donor.name} with other values")


def near(values: Values, space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Return values near others: numbers a little larger or smaller, choices now and then another."""
    return {one.path: _near(values[one.path], one, rng) for one in space.fields}


def _near(value: Any, one: Distribution, rng: np.random.Generator) -> Any:
    if one.kind == "choice":
        return one.draw(rng) if rng.random() < REDRAWN else value
    moved = value * FACTORS[int(rng.integers(2))]
    if one.kind == "integers":
        return int(min(max(round(moved), one.parts[0]), one.parts[1]))
    return one.near(moved)


def _has(member: Trial, epoch: float) -> bool:
    return any(rung.epoch >= epoch for rung in member.rungs)


def _rank(sweeping: Sweeping, member: Trial, at: float) -> float:
    rung = next(rung for rung in member.rungs if rung.epoch >= at)
    setting = sweeping.setting
    return rank_of(score_of(rung, setting.videos), setting.control.get(rung.epoch), setting.margin)
