"""Which values the next trial has: the same whoever asks, however often, whatever ran before."""

from functools import partial
from math import log10

import pytest

from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.tune.draw import draw_trial, grid_size
from pipeline.tune.kinds import edited_run
from pipeline.tune.ledger import Identity, Ledger, Rung
from pipeline.tune.space import parse
from pipeline.tune.trial import Setting

RECIPE = FinetuneRecipe(name="r-edits")
SPACE = parse(["edits.gamma_t=log(0.1,100)", "optim.schedule=choice(multistep,cosine)"], RECIPE)


def drawn(folder, numbers, searcher="random", space=SPACE, seed=0, told=None):
    """Draw trials in order; `told` gives each of them (edited, other) hits of 100 before the next is drawn, and may
    give the distance of attention to held-out edits as a third."""
    ledger = Ledger(str(folder), "s")
    setting = Setting(
        root=str(folder),
        name="s",
        run_of=partial(edited_run, RECIPE),
        open_feed=None,
        open_task=None,
        videos=200,
        margin=1.0,
    )
    about = {"recipe": to_dict(RECIPE), "target": {}, "schedule": {}, "passport": "", "passport_parts": {}}
    identity = Identity(name="s", space=(), searcher=searcher, scheduler="fifo", seed=seed, points=3, **about)
    found = []
    for number in numbers:
        trial = draw_trial(number, space, identity, ledger, setting)
        found.append(trial)
        if told:
            hits = told(trial)
            near = {"heldout_videos": 9, "heldout_mse": hits[2], "heldout_sd": 0.1} if len(hits) > 2 else {}
            metrics = {"edited_videos": 100, "other_videos": 100, "edited_hits": hits[0], "other_hits": hits[1]}
            ledger.update(number, state="finished", rungs=(Rung(step=1, epoch=1.0, metrics=metrics | near),))
    return found


def test_the_control_learns_nothing_of_what_people_said(tmp_path):
    (control,) = drawn(tmp_path, [0])
    assert control.values == {}
    assert edited_run(RECIPE, 0, {}).edits.gamma_t == 0.0
    assert edited_run(RECIPE, 1, {"edits.gamma_t": 3.0}).edits.gamma_t == 3.0


def test_random_trials_are_a_function_of_seed_and_number(tmp_path):
    first = drawn(tmp_path / "a", range(5))
    more = drawn(tmp_path / "b", range(9))
    assert [t.values for t in more[:5]] == [t.values for t in first]
    assert len({t.key for t in more}) == 9
    assert [t.values for t in drawn(tmp_path / "c", range(5), seed=1)][1:] != [t.values for t in first][1:]


def test_what_was_drawn_stays(tmp_path):
    first = drawn(tmp_path, range(4))
    assert drawn(tmp_path, range(4), seed=1) == first


def test_a_small_space_is_used_up_without_repeating_a_trial(tmp_path):
    space = parse(["edits.gamma_t=choice(1,2,3)"], RECIPE)
    found = drawn(tmp_path, range(4), space=space)
    assert sorted(t.values["edits.gamma_t"] for t in found[1:]) == [1, 2, 3]
    with pytest.raises(UserError, match=r"3 trials, and no other values"):
        drawn(tmp_path, [4], space=space)


def test_a_grid_is_taken_in_order(tmp_path):
    assert grid_size(SPACE, 3) == 6
    found = drawn(tmp_path, range(7), searcher="grid")
    assert [t.values for t in found[1:]] == SPACE.grid(3)


def test_optuna_proposes_what_was_good_and_the_same_again(tmp_path):
    """Edited classes rise towards gamma_t = 10; after forty trials most proposals lie near it."""
    space = parse(["edits.gamma_t=log(0.1,1000)", "optim.schedule=choice(multistep,cosine)"], RECIPE)

    def told(trial):
        off = abs(log10(trial.values.get("edits.gamma_t", 10.0)) - 1.0)
        return 90 - 30 * off, 80 - 5 * off

    found = drawn(tmp_path / "a", range(41), searcher="optuna", space=space, told=told)
    late = [t.values["edits.gamma_t"] for t in found[26:]]
    early = [t.values["edits.gamma_t"] for t in found[1:5]]
    assert sum(3 < gamma < 33 for gamma in late) >= 10
    assert len({t.key for t in found}) == 41
    assert min(early) < 3 or max(early) > 33  # it did not know before
    # A driver that dies and comes back draws the rest from the same results.
    drawn(tmp_path / "b", range(20), searcher="optuna", space=space, told=told)
    again = drawn(tmp_path / "b", range(41), searcher="optuna", space=space, told=told)
    assert [t.values for t in again] == [t.values for t in found]


def test_optuna_looks_for_attention_near_what_people_said(tmp_path):
    """No accuracy moves, and attention comes nearest at gamma_t = 10."""
    space = parse(["edits.gamma_t=log(0.1,1000)"], RECIPE)

    def told(trial):
        return 50, 80, 0.1 + 0.2 * abs(log10(trial.values.get("edits.gamma_t", 0.1)) - 1.0)

    found = drawn(tmp_path, range(41), searcher="optuna", space=space, told=told)
    late = [t.values["edits.gamma_t"] for t in found[26:]]
    assert sum(3 < gamma < 33 for gamma in late) >= 10
