"""From the options of a sweeping job to its request."""

import argparse

import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import DataConfig
from pipeline.train.recipe import Recipe
from pipeline.tune.kinds import recipe_target
from pipeline.tune.options import TRIALS, add_options, request_of

TARGET = recipe_target("r", Recipe(name="r", data=DataConfig(root="/d")), "/runs", [])
SEARCH = ["--search", "optim.lr=log(0.001,1)", "optim.schedule=choice(multistep,cosine)"]


def asked(*words):
    parser = argparse.ArgumentParser()
    add_options(parser)
    return request_of(TARGET, parser.parse_args([*SEARCH, *words]), "r-sweep")


def test_what_is_not_asked_for_has_its_usual_value():
    request = asked()
    assert (request.name, request.trials, request.at_once) == ("r-sweep", TRIALS, 1)
    assert (request.searcher, request.scheduler, request.margin) == ("random", "fifo", 1.0)
    assert request.space.texts() == ["optim.lr=log(0.001,1)", "optim.schedule=choice(multistep,cosine)"]


def test_what_is_asked_for_arrives():
    request = asked("--name", "n", "--searcher", "optuna", "--scheduler", "asha", "--trials", "5", "--at-once", "3")
    assert (request.name, request.searcher, request.scheduler) == ("n", "optuna", "asha")
    assert (request.trials, request.at_once) == (5, 3)
    request = asked("--seed", "7", "--margin", "0.5", "--grace", "2", "--reduction", "4")
    assert (request.seed, request.margin, request.grace, request.reduction) == (7, 0.5, 2, 4.0)


def test_a_grid_has_all_of_its_combinations():
    assert asked("--searcher", "grid", "--points", "5").trials == 10
    assert asked("--searcher", "grid", "--trials", "3").trials == 3  # refused by the sweep, with both numbers


def test_a_sweep_searches_something():
    parser = argparse.ArgumentParser()
    add_options(parser)
    with pytest.raises(UserError, match="nothing to search"):
        request_of(TARGET, parser.parse_args([]), "n")
