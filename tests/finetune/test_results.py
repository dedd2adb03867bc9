"""How networks are asked after a fine-tuning, and which clips are shown of it."""

from dataclasses import replace

import pytest

from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.edits import read_edits
from pipeline.finetune.measure import Measured, Nearness
from pipeline.finetune.recipe import control_of
from pipeline.finetune.results import _chosen, job_for
from pipeline.finetune.table import Answers


def test_networks_are_asked_on_the_machines_of_the_training(recipe_from):
    recipe = recipe_from("/b")
    recipe = replace(recipe, compute=replace(recipe.compute, workers=2, threads=3, data_cpus=0.0))
    job = job_for(recipe, "/c", 4)
    assert (job.checkpoint, job.split, job.batch) == ("/c", "validation", 4)
    assert (job.actors, job.threads, job.data_cpus) == (2, 3, 1.0)
    assert job.protocol.name == "8"


def test_a_control_differs_in_name_and_weights_alone(recipe_from):
    recipe = recipe_from("/b")
    assert control_of(recipe) == recipe_from("/b", gamma_t=0.0)
    assert control_of(recipe).name == "tiny-control"
    where = recipe_from("/b", gamma_t=0.0, gamma_s=3.0)
    assert where.name == "tiny-edits"
    assert control_of(where) == recipe_from("/b", gamma_t=0.0)


@pytest.mark.parametrize("changed", [(), ("validation-7",)])
def test_strips_show_a_held_out_clip_then_answers_that_changed(tiny_root, sealed, row, recipe_from, changed):
    dataset = PreparedDataset.open(tiny_root)
    edits = read_edits([sealed(row("train-0", 12, 0), row("train-1", 9, 1, split="heldout_edit"))])
    tested = dataset.videos("validation")
    nothing = Nearness(0, None, 0, None)
    measured = {
        name: Measured(
            "", Answers({}, {v.id: (v.label, name == "after" and v.id in changed) for v in tested}), nothing, None
        )
        for name in ("before", "after")
    }
    heldout = [video for video in dataset.videos("train") if video.id == "train-1"]
    found = [v.id for v in _chosen(measured, edits, heldout, dataset, job_for(recipe_from("/b"), "", 4))]
    edited = [v.id for v in tested if v.label in (0, 1) and v.id not in changed]
    assert found == ["train-1", *changed, *edited][:3]
