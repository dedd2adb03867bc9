"""Every command of every cell is one that its job takes, and cells hand on to each other what they make."""

import importlib
import json
import os
from pathlib import Path

import pytest

from jobs.reproduce import recipe_of
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.catalogue import choose
from pipeline.reproduce.commands import LINK, Machines, commands
from pipeline.reproduce.launcher import CHECKOUT
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.world import PAPERS

MADE = ("jobs/make_synth.py", "jobs/prepare_data.py")


@pytest.fixture(params=[SYNTH, PAPERS], ids=lambda world: world.name)
def desk(request, tmp_path):
    """A desk whose data are prepared."""
    world = request.param
    given = {} if world.is_synth else {name: f"{tmp_path}/{name}" for name in ("ssv2", "ssv1", "ucf101", "hmdb51")}
    desk = Desk(world=world, cells=choose(world, []).cells, out=str(tmp_path), recipe_of=recipe_of, given=given)
    for name in ("ssv2", "ssv1", "ucf101", "hmdb51"):
        Path(desk.data_root(name)).mkdir(parents=True)
        (Path(desk.data_root(name)) / "manifest.json").write_text(json.dumps({"passport": name}))
    for cell in desk.cells.values():
        if cell.kind == "flow":
            (Path(desk.folder(cell)) / "0123").mkdir(parents=True)
            (Path(desk.folder(cell)) / "0123" / "manifest.json").write_text(json.dumps({"passport": cell.name}))
    for cell in desk.cells.values():
        if cell.kind == "annotate":
            batch = Path(desk.folder(cell)) / "batches" / "one"
            batch.mkdir(parents=True)
            (batch / "manifest.json").touch()
    return desk


def to_make(desk):
    """The cells that commands can make."""
    people = ("data", "annotate") if not desk.world.is_synth else ()
    return [cell for cell in desk.cells.values() if cell.kind not in people]


def parsed(argv):
    """What the job makes of its arguments."""
    job = importlib.import_module(argv[0].removesuffix(".py").replace("/", "."))
    return (job.arguments if hasattr(job, "arguments") else job.parse)(list(argv[1:]))


@pytest.mark.parametrize("gpus", [0, 4])
def test_the_jobs_take_them(desk, gpus):
    machines, seen = Machines(gpus=gpus), set()
    for cell in to_make(desk):
        for command in commands(desk, cell, machines):
            for argv in filter(None, (command.argv, command.beside)):
                assert os.access(CHECKOUT / argv[0], os.X_OK)
                parsed(argv)
                seen.add(argv[0])
            assert (LINK in command.argv) == bool(command.beside)
    assert {"jobs/train_stabn.py", "jobs/evaluate.py", "jobs/finetune_edits.py", "jobs/train_two_stream.py"} <= seen
    assert set(MADE) <= seen or not desk.world.is_synth


def of(desk, name):
    return parsed(commands(desk, desk.cells[name], Machines())[0].argv)


def test_a_test_reads_the_run_that_its_training_makes(desk):
    for cell in desk.cells.values():
        if cell.kind == "test":
            trained, tested = of(desk, cell.needs[0]), of(desk, cell.name)
            assert (trained.run, trained.storage, trained.data) == (tested.run, tested.storage, tested.data)
            assert tested.out == desk.folder(cell)
        if cell.kind == "test-system":
            trained, tested = of(desk, cell.needs[0]), of(desk, cell.name)
            assert ([trained.run], trained.storage) == (tested.systems, tested.storage)


def test_the_fine_tuning_starts_from_the_network_that_people_correct_with_its_control(desk):
    base, tuned = of(desk, desk.world.corrected), of(desk, "s0-edits")
    assert (tuned.run, tuned.storage, tuned.control, tuned.gamma) == (base.run, base.storage, True, 10.0)
    assert [Path(batch).name for batch in tuned.batches] == ["one"]


def test_both_procedures_are_drawn_from_one_storage(desk):
    drawn = of(desk, "hmdb51-curves")
    made = [of(desk, name) for name in ("hmdb51-cross", "hmdb51-alternating")]
    assert drawn.systems == [one.run for one in made]
    assert {drawn.storage} == {one.storage for one in made}


def test_runs_of_different_cells_have_different_names_and_places(desk):
    places = [desk.folder(cell) for cell in desk.cells.values() if cell.kind != "flow"]
    assert len(places) == len(set(places))


def test_a_lane_has_one_storage_and_tests_stay_in_their_trainings_lane(desk):
    for cell in desk.cells.values():
        if cell.kind in ("test", "test-system", "mine", "finetune", "curves", "layers"):
            assert all(desk.cells[n].lane == cell.lane for n in cell.needs if desk.cells[n].kind in ("train", "system"))
