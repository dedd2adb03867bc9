"""A sweep's folder: what is done stays done, and a name stands for one sweep."""

from dataclasses import replace

import pytest

from pipeline.core import storage
from pipeline.core.config import override, to_dict
from pipeline.core.errors import UserError
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.tune.ledger import SWEEP, Identity, Ledger, Rung, key_of, with_rungs

RECIPE = FinetuneRecipe(name="r")


def identity(**changes):
    values = {"name": "s", "recipe": to_dict(RECIPE), "space": ("optim.lr=log(1e-05,0.01)",), "searcher": "random"}
    values |= {"scheduler": "asha", "schedule": {"grace": 1, "margin": 1.0, "reduction": 3.0}, "seed": 0, "points": 4}
    values |= {"target": {"job": "j", "stage": "r1-spatial"}, "passport": "aa", "passport_parts": {"ids": "1"}}
    return Identity(**(values | changes))


def test_a_trial_is_read_as_it_was_written(tmp_path):
    ledger = Ledger(str(tmp_path), "s")
    assert ledger.trials() == []
    planned = ledger.plan(0, {"optim.milestones": [2, 4]}, RECIPE)
    assert planned.run == f"s-{key_of(RECIPE)}"
    done = ledger.update(0, state="finished", rungs=(Rung(step=4, epoch=1.0, metrics={"top1": 50.0}),), seconds=2.5)
    assert Ledger(str(tmp_path), "s").trials() == [done]
    assert done.is_done
    assert not replace(done, state="failed").is_done


def test_a_key_is_of_what_is_trained_and_of_nothing_else():
    same = override(RECIPE, ["name=other", "compute.threads=4", "data.root=/elsewhere", "train.keep=9"])
    assert key_of(same) == key_of(RECIPE)
    others = ["optim.lr=0.5", "edits.gamma_t=1", "train.seed=1", "optim.milestones=[1]"]
    keys = [key_of(override(RECIPE, [one])) for one in others] + [key_of(RECIPE), key_of(RECIPE, "donor")]
    assert len(set(keys)) == len(keys)


def test_a_sweep_is_continued_only_as_the_sweep_it_was(tmp_path):
    ledger = Ledger(str(tmp_path), "s")
    first, existed = ledger.open(identity())
    assert not existed
    moved = to_dict(override(RECIPE, ["data.root=/elsewhere", "compute.workers=2"]))
    again, existed = ledger.open(identity(recipe=moved))
    assert existed
    assert again.key == first.key
    with pytest.raises(UserError, match=r"optim\.lr 0\.01 -> 0\.5; .*seed 0 -> 1"):
        ledger.open(identity(recipe=to_dict(override(RECIPE, ["optim.lr=0.5"])), seed=1))
    with pytest.raises(UserError, match=r"space optim\.lr=log\(1e-05,0\.01\) -> optim\.lr=choice\(1\)"):
        ledger.open(identity(space=("optim.lr=choice(1)",)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"passport": "bb", "passport_parts": {"ids": "2"}}, r"data passport aa -> bb \(ids differs\)"),
        ({"target": {"job": "j", "stage": "r2-spatial"}}, r"target\.stage 'r1-spatial' -> 'r2-spatial'"),
        ({"target": {"job": "k", "stage": "r1-spatial"}}, r"target\.job 'j' -> 'k'"),
        ({"schedule": {"grace": 2, "margin": 1.0, "reduction": 3.0}}, r"schedule\.grace 1 -> 2\."),
        ({"schedule": {"grace": 1, "margin": 1.0, "reduction": 4.0}}, r"schedule\.reduction 3\.0 -> 4\.0"),
    ],
)
def test_what_decides_results_is_compared(tmp_path, changes, words):
    ledger = Ledger(str(tmp_path), "s")
    ledger.open(identity())
    with pytest.raises(UserError, match=words):
        ledger.open(identity(**changes))


def test_a_sweep_that_says_nothing_of_its_data_does_not_go_on(tmp_path):
    """Written by an older version: what it was trained on cannot be told."""
    ledger = Ledger(str(tmp_path), "s")
    ledger.open(identity())
    uri = storage.join(ledger.folder, SWEEP)
    new = ("target", "schedule", "passport", "passport_parts", "told_of")
    storage.write_json(uri, {key: value for key, value in storage.read_json(uri).items() if key not in new})
    with pytest.raises(UserError, match=r"target\.job 'absent' -> 'j'; .*data passport absent -> aa"):
        ledger.open(identity())


def test_a_sweep_from_before_attention_counted_goes_on_where_nobody_asks_for_it(tmp_path):
    """Values at random or of a training: nothing depends on attention. Else others would be proposed and stopped."""
    ledger = Ledger(str(tmp_path), "s")
    ledger.open(identity())
    uri = storage.join(ledger.folder, SWEEP)
    storage.write_json(uri, {key: value for key, value in storage.read_json(uri).items() if key != "told_of"})
    assert ledger.open(identity())[1]
    with pytest.raises(UserError, match=r"judged by top-1 alone -> top-1 and attention \(.*give another --name"):
        ledger.open(identity(told_of="attention"))


def test_a_rung_that_is_told_again_counts_once():
    first, second = (Rung(step=s, epoch=s / 4, metrics={"top1": float(s)}) for s in (4, 8))
    told_again = replace(first, metrics={"top1": 99.0})
    assert with_rungs((first,), [told_again, second]) == (first, second)
    assert with_rungs((), []) == ()


def test_a_name_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="a/b"):
        Ledger(str(tmp_path), "a/b")
