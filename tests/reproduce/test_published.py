"""Checkpoints that are at hand: the authors' are tested first, in a table apart; torchvision's are first weights."""

import hashlib
from pathlib import Path

import pytest

from jobs.reproduce import ask, parse, recipe_of
from pipeline.core.errors import UserError
from pipeline.reproduce import published
from pipeline.reproduce.catalogue import choose
from pipeline.reproduce.cells import closure
from pipeline.reproduce.commands import Machines, commands
from pipeline.reproduce.plan import Desk, left
from pipeline.reproduce.published import FIRST, KEY, authors_in, cells_published, table_published, weights_in
from pipeline.reproduce.world import PAPERS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files by torchvision's names; what they hold counts as its weights here."""
    found = tmp_path / "checkpoints"
    found.mkdir()
    names = ("checkpoint-best.pt", "resnet50-0676ba61.pth", "resnet101-63fe2227.pth", "inception_v3-0cc3c7bd.pth")
    for name in (*names, "readme.txt"):
        (found / name).write_text(name)
    held = {name: hashlib.sha256(file.encode()).hexdigest() for name, file in zip(FIRST, names[1:], strict=True)}
    monkeypatch.setattr(published, "FIRST", {name: digest[:8] for name, digest in held.items()})
    return found


@pytest.fixture
def desk(folder, tmp_path, lay_frames):
    given = [lay_frames(tmp_path / name, name) for name in ("ssv2", "ucf101")]
    return ask(parse(["all", "--data", *given, "--checkpoints", str(folder), "--out", str(tmp_path / "out")]))[0]


def test_what_is_in_a_folder(folder):
    assert [Path(file).name for file in authors_in(str(folder))] == ["checkpoint-best.pt"]
    assert {name: Path(file).name for name, file in weights_in(str(folder)).items()} == {
        "resnet50": "resnet50-0676ba61.pth",
        "resnet101": "resnet101-63fe2227.pth",
        "inception_v3": "inception_v3-0cc3c7bd.pth",
    }
    (folder / "resnet50-11ad3fa6.pth").write_text("torchvision's other weights")
    assert Path(weights_in(str(folder))["resnet50"]).name == "resnet50-0676ba61.pth"
    (folder / "resnet50-0676ba61.pth").write_text("cut short")
    with pytest.raises(UserError, match=r"No file of resnet50 holds its first weights[\s\S]*resnet50-11ad3fa6"):
        weights_in(str(folder))
    assert authors_in("") == []
    assert weights_in("") == {}


def test_the_authors_networks_come_first_in_a_table_of_their_own(folder, desk):
    files = authors_in(str(folder))
    chosen = choose(PAPERS, ["s0-table-1"], authors=files)
    assert [bound.key for bound in chosen.bounds] == [KEY, "s0-table-1"]
    table, bound = table_published(PAPERS, files)
    assert [row.name for row in table.rows] == ["checkpoint-best.pt, 32", "checkpoint-best.pt, 32x2"]
    assert all(row.values == {} for row in table.rows)
    assert [cell.name for cell in left(desk, chosen.wanted())][:3] == [
        "authors-checkpoint-best",
        "authors-checkpoint-best-one",
        "authors-checkpoint-best-two",
    ]
    own = {cell.name for cell in closure(chosen.cells, bound.cells())}
    assert own == {"ssv2", "authors-checkpoint-best", "authors-checkpoint-best-one", "authors-checkpoint-best-two"}


def test_they_are_imported_and_tested_by_jobs(desk):
    (made,) = commands(desk, desk.cells["authors-checkpoint-best"], Machines())
    (tested,) = commands(desk, desk.cells["authors-checkpoint-best-two"], Machines())
    assert made.argv[0] == "jobs/import_published.py"
    out = made.argv[made.argv.index("--out") + 1]
    assert tested.argv[tested.argv.index("--checkpoint") + 1] == out
    assert {"--allow-other-data", "32x2"} <= set(tested.argv)


def test_another_file_of_the_same_name_is_another_cell(folder, desk):
    before = desk.key(desk.cells["authors-checkpoint-best"])
    (folder / "checkpoint-best.pt").write_text("another")
    cells = {**desk.cells, **cells_published(PAPERS, authors_in(str(folder)))}
    after = Desk(world=PAPERS, cells=cells, out=desk.out, recipe_of=recipe_of, given=desk.given)
    assert after.key(cells["authors-checkpoint-best"]) != before


def test_first_weights_are_taken_from_the_folder_and_change_no_key(folder, desk):
    def argv(name):
        return commands(desk, desk.cells[name], Machines())[0].argv

    assert f"init.path={folder}/resnet50-0676ba61.pth" in argv("s0-baseline-r50")
    assert f"init.path={folder}/resnet101-63fe2227.pth" in argv("s0-stabn-r101")
    assert f"spatial.init.path={folder}/inception_v3-0cc3c7bd.pth" in argv("ucf101-cross")
    bare = Desk(world=PAPERS, cells=desk.cells, out=desk.out, recipe_of=recipe_of, given=desk.given)
    assert all(desk.key(cell) == bare.key(cell) for cell in desk.cells.values())


def test_the_bench_has_no_use_for_them(folder):
    with pytest.raises(UserError, match="know nothing of the synth bench"):
        ask(parse(["all", "--data", "synth", "--checkpoints", str(folder)]))
