"""Keys: the same work is found again, other work is not; and what stands in whose way."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.reproduce import plan
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.catalogue import choose
from pipeline.reproduce.cells import Cell
from pipeline.reproduce.commands import Command
from pipeline.reproduce.launcher import Launcher
from pipeline.reproduce.plan import Desk, identity, left, matches
from pipeline.reproduce.running import run_cells
from pipeline.reproduce.world import PAPERS


def keys(desk):
    return {name: desk.key(cell) for name, cell in desk.cells.items()}


def finish(desk, name):
    """Leave what a finished cell leaves."""
    cell = desk.cells[name]
    for result in cell.results:
        Path(desk.folder(cell)).mkdir(parents=True, exist_ok=True)
        (Path(desk.folder(cell)) / result).touch()
    Path(desk.record_uri(cell)).parent.mkdir(parents=True, exist_ok=True)
    Path(desk.record_uri(cell)).write_text(json.dumps({"cell": name, "seconds": 1.0}))


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("compute", {"workers": 8}),
        ("expected", {"cost": "much"}),
        ("data", {"root": "elsewhere", "fold": 1}),
        ("train", {"epochs": 3, "log_every": 99}),
    ],
)
def test_where_and_how_conveniently_it_runs_is_not_in_the_key(desk, cheap, tmp_path, section, values):
    changed = cheap.desk_at(tmp_path, recipe={**cheap.RECIPE, section: values})
    assert keys(changed) == keys(desk)


@pytest.mark.parametrize(
    ("section", "values"),
    [("clip", {"frames": 16}), ("data", {"root": "somewhere", "fold": 2}), ("train", {"epochs": 4, "log_every": 10})],
)
def test_another_recipe_is_another_network_and_another_test_of_it(desk, cheap, tmp_path, section, values):
    before, after = keys(desk), keys(cheap.desk_at(tmp_path, recipe={**cheap.RECIPE, section: values}))
    assert before["ssv2"] == after["ssv2"]
    assert all(before[name] != after[name] for name in ("net", "net-one", "other", "other-one"))


def test_another_protocol_is_another_test_of_the_same_network(desk, cheap, tmp_path):
    cells = [replace(one, options=("--protocol", "8x2")) if one.name == "net-one" else one for one in cheap.CELLS]
    before, after = keys(desk), keys(cheap.desk_at(tmp_path, cells=cells))
    assert {name for name in before if before[name] != after[name]} == {"net-one"}


@pytest.fixture
def revise(monkeypatch):
    """Sets how often each kind of cell has changed."""
    return lambda revisions: monkeypatch.setattr(plan, "REVISIONS", revisions)


def test_other_data_are_another_everything(desk, cheap, tmp_path):
    before = keys(desk)
    cheap.prepare(tmp_path / "given", passport="p2")
    assert not set(before.values()) & set(keys(cheap.desk_at(tmp_path)).values())


def test_another_revision_of_the_code_is_another_cell_and_another_of_all_that_reads_it(desk, cheap, tmp_path, revise):
    before = keys(desk)
    revise({"test": 1})
    tests = keys(cheap.desk_at(tmp_path))
    assert {name for name in before if before[name] != tests[name]} == {"net-one", "other-one"}
    revise({"train": 1, "test": 1})
    trainings = keys(cheap.desk_at(tmp_path))
    assert {name for name in tests if tests[name] != trainings[name]} == set(before) - {"ssv2"}
    revise({"train": 2, "test": 1})
    assert not set(keys(cheap.desk_at(tmp_path)).values()) & (set(trainings.values()) - {before["ssv2"]})
    revise({"data": 1, "flow": 1})
    assert keys(cheap.desk_at(tmp_path)) == before, "people's data are known by their passport"


def test_a_change_of_the_generator_makes_synthetic_data_anew(tmp_path, revise):
    bench = Desk(world=SYNTH, cells=choose(SYNTH, []).cells, out=str(tmp_path), recipe_of=lambda cell: {}, given={})
    before = bench.data_root("ssv2")
    revise({"data": 1})
    assert bench.data_root("ssv2") != before


def test_without_data_no_key_is_known(cheap, tmp_path):
    desk = cheap.desk_at(tmp_path / "empty")
    assert set(keys(desk).values()) == {""}
    assert left(desk, list(desk.cells)) == ()
    assert {desk.state(cell) for cell in desk.cells.values()} == {"blocked"}
    assert desk.hindrance(desk.cells["ssv2"]) == "its data are not given: --data ssv2=ROOT"


def test_what_is_left_comes_after_what_it_needs(desk):
    assert [cell.name for cell in left(desk, ["net-one"])] == ["net", "net-one"]
    finish(desk, "net")
    assert [cell.name for cell in left(desk, ["net-one"])] == ["net-one"]
    assert [desk.state(desk.cells[name]) for name in ("net", "net-one")] == ["done", "to run"]
    finish(desk, "net-one")
    assert left(desk, ["net-one"]) == ()


def test_a_cell_is_done_by_its_record_and_its_results(desk):
    cell = desk.cells["net-one"]
    finish(desk, "net-one")
    assert desk.is_done(cell)
    (Path(desk.folder(cell)) / "ok").unlink()
    assert not desk.is_done(cell)
    finish(desk, "net-one")
    Path(desk.record_uri(cell)).unlink()
    assert not desk.is_done(cell)


@pytest.mark.parametrize("world", [PAPERS, SYNTH], ids=lambda world: world.name)
def test_every_cell_has_something_to_show(world):
    """A command that ended well on another machine's disk has made nothing that the next one would find."""
    silent = {cell.kind for cell in choose(world, []).cells.values() if not cell.results}
    assert silent == {"data"}, "data are known by their passport"


def test_a_training_is_done_where_its_run_lies(tmp_path, cheap):
    cheap.prepare(tmp_path / "given")
    desk = cheap.desk_at(tmp_path, cells=choose(PAPERS, []).cells.values())
    for name, made in (("s0-stabn-r50", ("run.json", "step-00000007/state.pt")), ("hmdb51-tsn", ("system.json",))):
        cell = replace(desk.cells[name], data="ssv2", needs=("ssv2",))
        Path(desk.record_uri(cell)).parent.mkdir(parents=True, exist_ok=True)
        Path(desk.record_uri(cell)).write_text('{"seconds": 1.0}')
        for file in made:
            assert not desk.is_done(cell)
            (Path(desk.folder(cell)) / file).parent.mkdir(parents=True, exist_ok=True)
            (Path(desk.folder(cell)) / file).touch()
        assert desk.is_done(cell)


def test_what_only_people_can_do_blocks_what_needs_it(desk, cheap, tmp_path):
    asked = Cell(name="asked", kind="annotate", title="people", lane="a", data="ssv2", needs=("net",))
    tuned = Cell(name="tuned", kind="finetune", title="tune", lane="a", data="ssv2", needs=("net", "asked"))
    cells = (*cheap.CELLS, asked, tuned)
    alone = cheap.desk_at(tmp_path, cells=cells)
    assert [alone.state(cell) for cell in (asked, tuned)] == ["blocked", "blocked"]
    assert [cell.name for cell in left(alone, ["tuned"])] == ["net"]
    helped = cheap.desk_at(tmp_path, cells=cells, batches=("s3://bucket/batch",))
    assert [helped.state(cell) for cell in (asked, tuned)] == ["done", "to run"]
    assert helped.batch_folders(asked) == ("s3://bucket/batch",)
    assert helped.key(tuned) != cheap.desk_at(tmp_path, cells=cells, batches=("s3://bucket/other",)).key(tuned)


def lay_flow(folder, passport):
    """Let a folder look like a flow set."""
    Path(folder).mkdir(parents=True)
    (Path(folder) / "manifest.json").write_text(json.dumps({"passport": passport}))


@pytest.fixture
def paired(cheap, tmp_path):
    """What opens a desk on frames and their flow, as a process of its own would."""
    cheap.prepare(tmp_path / "given")
    flow = Cell(name="flow", kind="flow", title="flow", lane="data", data="ssv2", needs=("ssv2",))
    flow = replace(flow, results=("*/manifest.json",))
    about = {"lane": "data", "data": "ssv2", "recipe": "small"}
    system = Cell(name="two", kind="system", title="two streams", needs=("ssv2", "flow"), **about)
    return lambda: cheap.desk_at(tmp_path, cells=(cheap.CELLS[0], flow, system))


def test_what_was_trained_on_flow_of_ours_is_found_by_the_next_process(paired, tmp_path):
    """What was known while the flow was being extracted is what is known when it lies there."""
    desk, laid = paired(), tmp_path / "given/flow/0123"
    assert [desk.state(cell) for cell in desk.cells.values()] == ["done", "waits", "waits"]

    def commands_of(cell):
        script = f"mkdir -p {laid}; printf '%s' '{{\"passport\": \"f1\"}}' > {laid}/manifest.json"
        return (Command(argv=("sh", "-c", script if cell.kind == "flow" else "true"), submitted=False),)

    launcher = Launcher(on="here", logs=tmp_path / "logs", service=nullcontext)
    assert run_cells(desk, ["two"], commands_of, launcher.start).done == ("flow", "two")
    again = paired()
    assert keys(again) == keys(desk)
    assert desk.record(desk.cells["flow"])["key"] == again.key(again.cells["flow"])
    assert run_cells(again, ["two"], commands_of, launcher.start).done == ()


def test_other_flow_is_another_training(paired, tmp_path):
    lay_flow(tmp_path / "given/flow/0123", "f1")
    before = keys(paired())
    (tmp_path / "given/flow/0123/manifest.json").write_text(json.dumps({"passport": "f2"}))
    after = keys(paired())
    assert (before["ssv2"], len({before["two"], after["two"], ""})) == (after["ssv2"], 3)


def test_of_several_flow_sets_people_choose_and_nothing_is_trained_again(paired, tmp_path):
    lay_flow(tmp_path / "given/flow/0123", "f1")
    desk = paired()
    finish(desk, "two")
    lay_flow(tmp_path / "given/flow/4567", "f2")
    several = paired()
    assert several.state(several.cells["two"]) == "blocked"
    assert "flow/0123" in several.hindrance(several.cells["flow"])
    assert "flow/4567" in several.hindrance(several.cells["flow"])
    assert left(several, ["two"]) == ()
    (tmp_path / "given/flow/4567/manifest.json").unlink()
    assert paired().is_done(desk.cells["two"])


def test_synthetic_data_are_known_by_their_dials_before_they_are_made(tmp_path):
    def desk(world):
        return Desk(world=world, cells=choose(world, []).cells, out=str(tmp_path), recipe_of=lambda cell: {}, given={})

    bench = desk(SYNTH)
    smaller = desk(replace(SYNTH, made={**SYNTH.made, "ssv2": ("--layout", "ssv2", "--set", "train=18")}))
    assert bench.data_root("ssv2") != smaller.data_root("ssv2")
    assert bench.data_root("ssv1") == smaller.data_root("ssv1")
    assert {cell.name for cell in bench.cells.values() if bench.key(cell)} == {"ssv2", "ssv1", "ucf101", "hmdb51"}
    assert {bench.state(cell) for cell in bench.cells.values()} == {"to run", "waits"}


def test_a_pattern_finds_files_in_order(tmp_path):
    for name in ("b/one.json", "a/one.json", "a/two.json", "c/none.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    root = str(tmp_path)
    assert matches(root, "*/one.json") == [f"{root}/a/one.json", f"{root}/b/one.json"]
    assert matches(root, "a/*.json") == [f"{root}/a/one.json", f"{root}/a/two.json"]
    assert matches(root, "c/one.json") == matches(root, "d/*") == []


def test_the_identity_of_a_recipe_keeps_what_decides_its_result(cheap):
    assert identity(cheap.RECIPE) == {
        "name": "small",
        "clip": {"frames": 8},
        "data": {"fold": 1},
        "train": {"epochs": 3},
    }
