"""Search spaces from the command line, checked against the recipe that they search."""

import numpy as np
import pytest

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.tune.space import assignments, parse, shown, with_values

RECIPE = FinetuneRecipe(name="r")
ALL = (
    "edits.gamma_t=log(0.1,100)",
    "optim.weight_decay=uniform(0,0.001)",
    "train.global_batch=integers(8,11)",
    "optim.schedule=choice(multistep,cosine)",
    "optim.milestones=choice([2,4],[3])",
)


def test_every_distribution_draws_within_its_range_and_is_written_as_it_was_read():
    space = parse(ALL, RECIPE)
    assert parse(space.texts(), RECIPE) == space
    drawn = [space.draw(np.random.default_rng(seed)) for seed in range(300)]
    gammas = np.array([values["edits.gamma_t"] for values in drawn])
    assert gammas.min() >= 0.1
    assert gammas.max() <= 100
    # Even in the logarithm: as many below the geometric middle, sqrt(0.1 * 100), as above.
    assert 110 <= (gammas < 10**0.5).sum() <= 190
    assert {values["train.global_batch"] for values in drawn} == {8, 9, 10, 11}
    assert {values["optim.schedule"] for values in drawn} == {"multistep", "cosine"}
    assert {tuple(values["optim.milestones"]) for values in drawn} == {(2, 4), (3,)}
    decays = np.array([values["optim.weight_decay"] for values in drawn])
    assert 110 <= (decays < 0.0005).sum() <= 190


def test_values_go_into_the_recipe_as_overrides_of_the_command_line_do():
    values = parse(ALL, RECIPE).draw(np.random.default_rng(0))
    recipe = with_values(RECIPE, values)
    assert recipe == override(RECIPE, assignments(values))
    assert recipe.edits.gamma_t == values["edits.gamma_t"]
    assert recipe.optim.milestones == tuple(float(m) for m in values["optim.milestones"])
    assert recipe.optim.schedule == values["optim.schedule"]


def test_a_grid_has_every_combination_and_both_ends():
    space = parse(["edits.gamma_t=log(0.1,100)", "optim.schedule=choice(multistep,cosine)"], RECIPE)
    grid = space.grid(4)
    assert [v["edits.gamma_t"] for v in grid[::2]] == [0.1, 1.0, 10.0, 100.0]
    assert [v["optim.schedule"] for v in grid[:2]] == ["multistep", "cosine"]
    assert parse(["optim.lr=uniform(0,1)"], RECIPE).grid(3) == [{"optim.lr": v} for v in (0.0, 0.5, 1.0)]
    assert parse(["train.seed=integers(3,5)"], RECIPE).grid(9) == [{"train.seed": v} for v in (3, 4, 5)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optim.lr", "could not be read"),
        ("optim.lr=log(1e-5,1e-2", "quote it for the shell"),
        ("optim.lr=lognormal(0,1)", "could not be read"),
        ("optim.lr=log(0,1)", "both above 0"),
        ("optim.lr=log(1,0.1)", "the lower first"),
        ("optim.lr=uniform(0.1)", "two numbers"),
        ("optim.lr=uniform(a,b)", "two numbers"),
        ("optim.lr=uniform(0,Infinity)", "two numbers"),
        ("train.seed=integers(0.5,2)", "two whole numbers"),
        ("optim.lr=choice()", "one value or more"),
        ("optim.lr=choice(0.1,0.1)", "each once"),
        ("optim.lrr=log(0.1,1)", "did you mean optim.lr"),
        ("optim.schedule=choice(step,cosine)", "'multistep', 'cosine'"),
        ("optim.weight_decay=uniform(-1,1)", "optim.weight_decay is out of range"),
        ("train.global_batch=log(8,64)", "takes no fractions"),
        ("optim.milestones=choice(3)", "a JSON list"),
        ("model.arch=choice(st_abn,baseline)", "Only a network with temporal attention"),
        ("compute.workers=integers(1,2)", "says nothing of what is trained"),
        ("data.root=choice(a,b)", "says nothing of what is trained"),
        ("name=choice(a,b)", "says nothing of what is trained"),
    ],
)
def test_what_makes_no_space_is_refused_in_words(text, words):
    with pytest.raises(UserError) as error:
        parse([text], RECIPE)
    assert words in str(error.value)


def test_a_space_has_fields_and_each_once():
    with pytest.raises(UserError, match="nothing to search"):
        parse([], RECIPE)
    with pytest.raises(UserError, match=r"twice.*optim\.lr"):
        parse(["optim.lr=choice(1)", "optim.lr=log(0.1,1)"], RECIPE)


def test_drawn_numbers_are_short_enough_to_type_and_stay_in_range():
    space = parse(["optim.lr=log(0.123456,0.123457)"], RECIPE)
    assert 0.123456 <= space.draw(np.random.default_rng(0))["optim.lr"] <= 0.123457
    space = parse(["optim.lr=log(1e-5,1e-2)"], RECIPE)
    for seed in range(20):
        value = space.draw(np.random.default_rng(seed))["optim.lr"]
        assert len(f"{value:e}".split("e")[0].rstrip("0")) <= 5
    assert shown({"optim.lr": 1e-05, "edits.gamma_t": 3.0}) == "lr 1e-05  gamma_t 3.0"
