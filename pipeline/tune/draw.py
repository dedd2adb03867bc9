"""Which values the next trial has: at random, from a grid, or proposed by Optuna from what the others came to.

A trial's values are a function of the seed, its number and, with Optuna, the results so far; once drawn they are in the
ledger and stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import UserError, problem
from pipeline.tune.choose import goods, last_score
from pipeline.tune.ledger import CONTROL, Identity, Ledger, Trial, key_of
from pipeline.tune.space import Distribution, Space, as_text
from pipeline.tune.trial import Setting

if TYPE_CHECKING:
    import optuna

ATTEMPTS = 100
"""Draws after which a space without new values is given up."""


def draw_trial(number: int, space: Space, identity: Identity, ledger: Ledger, setting: Setting) -> Trial:
    """Return a trial, drawn and put into the ledger if it is new. All trials before it have been drawn.

    Raises:
        UserError: the space has no further values.
    """
    if (known := ledger.read(number)) is not None:
        return known
    if number == CONTROL:
        return ledger.plan(number, {}, setting.run_of(number, {}))
    taken = {trial.key for trial in ledger.trials()}
    for attempt in range(ATTEMPTS):
        values = _values(number, attempt, space, identity, ledger, setting)
        recipe = setting.run_of(number, values)
        if key_of(recipe) not in taken or identity.searcher == "grid":
            return ledger.plan(number, values, recipe)
    fix = "ask for fewer --trials, or search wider ranges"
    got, allowed = f"{number - 1} trials, and no other values in {ATTEMPTS} draws", "as many trials as there are values"
    raise UserError(problem("The space has no further values", got=got, allowed=allowed, fix=fix))


def grid_size(space: Space, points: int) -> int:
    """Return how many combinations a grid has."""
    return math.prod(len(one.grid(points)) for one in space.fields)


def _values(
    number: int, attempt: int, space: Space, identity: Identity, ledger: Ledger, setting: Setting
) -> dict[str, Any]:
    if identity.searcher == "grid":
        return space.grid(identity.points)[number - 1]
    if identity.searcher == "random":
        return space.draw(np.random.default_rng([identity.seed, number, attempt]))
    return _proposed(number, attempt, space, identity, ledger, setting)


def _proposed(
    number: int, attempt: int, space: Space, identity: Identity, ledger: Ledger, setting: Setting
) -> dict[str, Any]:
    """Ask Optuna (TPE), which is told of every trial that is done, and of everything that may rise or fall in it.

    Edited and other classes and the nearness of attention to held-out edits are an objective each, so that it looks for
    trials that are good in all. A study is made anew for every trial: its state is the ledger, and no file of its own
    can disagree with it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = [trial for trial in ledger.trials() if trial.is_done and trial.number != CONTROL]
    found = [(trial, score) for trial in trials if (score := last_score(trial, setting.videos)) is not None]
    results = goods([score for _, score in found])
    objectives = len(results[0]) if results else 1
    seed = int(np.random.SeedSequence([identity.seed, number, attempt]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(4, len(space.fields) * 2))
    study = optuna.create_study(directions=["maximize"] * objectives, sampler=sampler)
    domains = {one.path: _domain(one) for one in space.fields}
    for (trial, _), values in zip(found, results, strict=True):
        told = {one.path: _told(one, trial.values) for one in space.fields}
        study.add_trial(optuna.trial.create_trial(params=told, distributions=domains, values=values))
    asked = study.ask(domains).params
    return {one.path: _heard(one, asked[one.path]) for one in space.fields}


def _domain(one: Distribution) -> optuna.distributions.BaseDistribution:
    import optuna

    if one.kind == "choice":  # Optuna's categories are plain values, and a list of milestones is none
        return optuna.distributions.CategoricalDistribution([as_text(part) for part in one.parts])
    low, high = one.parts
    if one.kind == "integers":
        return optuna.distributions.IntDistribution(low, high)
    return optuna.distributions.FloatDistribution(low, high, log=one.kind == "log")


def _told(one: Distribution, values: Mapping[str, Any]) -> Any:
    return as_text(values[one.path]) if one.kind == "choice" else values[one.path]


def _heard(one: Distribution, value: Any) -> Any:
    if one.kind == "choice":
        return next(part for part in one.parts if as_text(part) == value)
    return value if one.kind == "integers" else one.near(value)
