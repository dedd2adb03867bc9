"""Exchanges of a population: who takes over from whom, and that a driver may die in the middle of one."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from pipeline.core.config import override, to_dict
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.tune.kinds import Target, edited_run
from pipeline.tune.ledger import Identity, Ledger, Rung
from pipeline.tune.population import FACTORS, exchange, near, train_population
from pipeline.tune.run import Request, Sweeping
from pipeline.tune.space import parse
from pipeline.tune.trial import Setting

RECIPE = override(FinetuneRecipe(name="r-edits"), ["train.epochs=6"])
SPACE = parse(
    ["edits.gamma_t=log(0.1,100)", "train.seed=integers(0,9)", "optim.schedule=choice(multistep,cosine)"], RECIPE
)


@pytest.fixture
def sweeping(tmp_path):
    """A population of eight in which trial n has n of 8 edited videos right after every epoch."""
    target = Target(
        recipe=RECIPE,
        run_of=partial(edited_run, RECIPE),
        open_feed=None,
        open_task=None,
        command=(),
        control={"edits.gamma_t": 0.0},
    )
    about = {"recipe": to_dict(RECIPE), "target": {}, "schedule": {}, "passport": "", "passport_parts": {}}
    identity = Identity(name="s", space=(), searcher="random", scheduler="pbt", seed=0, points=4, **about)
    setting = Setting(
        root=str(tmp_path),
        name="s",
        run_of=target.run_of,
        open_feed=None,
        open_task=None,
        videos=16,
        margin=100.0,
    )
    request = Request(name="s", target=target, space=SPACE, scheduler="pbt", trials=8, grace=2)
    found = Sweeping(request, identity, Ledger(str(tmp_path), "s"), setting, lambda text: None)
    found.draw(0)
    return found


def trainer(sweeping, folder, calls):
    """Stands in for training: writes the rungs and a checkpoint that says which run made it."""

    def train(numbers):
        calls.append(list(numbers))
        for number in numbers:
            member = sweeping.ledger.known(number)
            checkpoint = folder / member.run / f"{member.until:g}"
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "state.pt").write_text(member.run)
            counts = {"edited_hits": number, "edited_videos": 8, "other_hits": 8, "other_videos": 8}
            rung = Rung(step=round(member.until * 10), epoch=member.until, metrics=counts)
            done = {"state": "finished"} if member.until == 6 else {}
            sweeping.ledger.update(number, rungs=(*member.rungs, rung), checkpoint=str(checkpoint), **done)

    return train


def test_the_last_quarter_goes_on_from_the_first(sweeping, tmp_path):
    calls = []
    train_population(sweeping, range(1, 9), trainer(sweeping, tmp_path / "runs", calls))
    assert calls == [list(range(1, 9))] * 3
    members = {n: sweeping.ledger.known(n) for n in range(1, 9)}
    assert {m.state for m in members.values()} == {"finished"}
    first = {members[n].run for n in (7, 8)}
    for number, member in members.items():
        assert [rung.epoch for rung in member.rungs] == [2.0, 4.0, 6.0]
        if number in (1, 2):
            assert (tmp_path / "s" / "starts" / f"{number:04d}-0004" / "state.pt").read_text() in first
            assert member.start.endswith("-0004")
            assert member.run not in first
        else:
            assert member.start == ""


def test_an_exchange_that_was_cut_short_ends_as_if_it_had_not_been(sweeping, tmp_path):
    numbers = range(1, 9)
    for number in numbers:
        sweeping.ledger.write(replace(sweeping.draw(number), until=2.0))
    trainer(sweeping, tmp_path / "runs", [])(numbers)
    before = sweeping.ledger.trials()
    exchange(sweeping, numbers, 2.0, 4.0)
    whole = sweeping.ledger.trials()
    for cut in (1, 2, 5):
        for trial in before[cut:]:
            sweeping.ledger.write(trial)
        exchange(sweeping, numbers, 2.0, 4.0)
        assert sweeping.ledger.trials() == whole
    assert [trial.until for trial in whole[1:]] == [4.0] * 8
    assert sum(trial.start != "" for trial in whole) == 2


def test_values_move_a_little_and_stay_in_their_ranges():
    values = {"edits.gamma_t": 10.0, "train.seed": 5, "optim.schedule": "cosine"}
    moved = [near(values, SPACE, np.random.default_rng(seed)) for seed in range(200)]
    assert {m["edits.gamma_t"] for m in moved} == {10.0 * factor for factor in FACTORS}
    assert {m["train.seed"] for m in moved} == {4, 6}
    changed = sum(m["optim.schedule"] == "multistep" for m in moved)
    assert 10 <= changed <= 45  # an eighth: drawn anew in a quarter, and half of these are the other one
    edge = near({**values, "edits.gamma_t": 99.0, "train.seed": 9}, SPACE, np.random.default_rng(1))
    assert edge["edits.gamma_t"] <= 100
    assert edge["train.seed"] <= 9
