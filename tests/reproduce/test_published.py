"""Checkpoints that are at hand: the authors' are tested first, in a table apart; torchvision's are first weights."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from torch.hub import HASH_REGEX
from torchvision.models import get_model_weights

from jobs.cli import find_recipe
from jobs.reproduce import ask, parse, recipe_of
from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.data.store.catalog import Passport
from pipeline.reproduce import published
from pipeline.reproduce.catalogue import choose
from pipeline.reproduce.cells import closure
from pipeline.reproduce.commands import Machines, commands
from pipeline.reproduce.plan import Desk, left
from pipeline.reproduce.published import FIRST, KEY, authors_in, cells_published, table_published, weights_in
from pipeline.reproduce.world import PAPERS
from pipeline.train.runs import open_record


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files by torchvision's kind of names; what they hold counts as its weights here."""
    found = tmp_path / "checkpoints"
    found.mkdir()
    (found / "checkpoint-best.pt").write_text("a network")
    (found / "readme.txt").write_text("nothing")
    held = {name: f"{name}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.pth" for name in FIRST}
    for name, file in held.items():
        (found / file).write_text(name)
    monkeypatch.setattr(published, "FIRST", held)
    return found


@pytest.fixture
def desk(folder, tmp_path, lay_frames):
    given = [lay_frames(tmp_path / name, name) for name in ("ssv2", "ucf101")]
    return ask(parse(["all", "--data", *given, "--checkpoints", str(folder), "--out", str(tmp_path / "out")]))[0]


def test_what_is_in_a_folder(folder):
    assert [Path(file).name for file in authors_in(str(folder))] == ["checkpoint-best.pt"]
    ours = {name: f"{folder}/{file}" for name, file in published.FIRST.items()}
    assert weights_in(str(folder)) == ours
    (folder / "resnet50-11ad3fa6.pth").write_text("torchvision's other weights")
    assert weights_in(str(folder)) == ours
    Path(ours["resnet50"]).write_text("cut short")
    with pytest.raises(UserError, match=r"No file of resnet50 holds its first weights[\s\S]*resnet50-11ad3fa6"):
        weights_in(str(folder))
    assert authors_in("") == []


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


def test_what_is_not_in_a_folder_is_torchvisions_own():
    """torchvision says itself which file it would download, and checks what its name says of the content."""
    for name, url in weights_in("").items():
        assert url == get_model_weights(name).IMAGENET1K_V1.url
        assert HASH_REGEX.search(url)


def test_a_run_goes_on_when_its_first_weights_lie_elsewhere(folder, desk, tmp_path):
    """Given, moved or dropped between two attempts, --checkpoints does not make another run of it."""
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)

    def recipe(weights):
        there = replace(desk, weights=weights)
        argv = commands(there, desk.cells["s0-baseline-r50"], Machines())[0].argv
        return override(find_recipe(argv[1])(), [word for word in argv if word.startswith("init.path=")])

    passport, root = Passport("d", {}), str(tmp_path / "runs")
    ways = [recipe(weights_in(place)) for place in (str(folder), str(moved), "")]
    assert len({way.init.path for way in ways}) == 3
    for began in ways:
        name = f"run-{ways.index(began)}"
        open_record(root, name, began, passport)
        assert all(open_record(root, name, way, passport)[1] for way in ways)
    other = override(ways[0], ["init.path=/w/resnet50-11ad3fa6.pth"])
    with pytest.raises(UserError, match="-11ad3fa6"):
        open_record(root, "run-0", other, passport)


def test_first_weights_are_taken_from_the_folder_and_change_no_key(folder, desk):
    def argv(name):
        return commands(desk, desk.cells[name], Machines())[0].argv

    file = {name: f"{folder}/{found}" for name, found in published.FIRST.items()}
    assert f"init.path={file['resnet50']}" in argv("s0-baseline-r50")
    assert f"init.path={file['resnet101']}" in argv("s0-stabn-r101")
    assert f"spatial.init.path={file['inception_v3']}" in argv("ucf101-cross")
    bare = Desk(world=PAPERS, cells=desk.cells, out=desk.out, recipe_of=recipe_of, given=desk.given)
    assert all(desk.key(cell) == bare.key(cell) for cell in desk.cells.values())


def test_the_bench_has_no_use_for_them(folder):
    with pytest.raises(UserError, match="know nothing of the synth bench"):
        ask(parse(["all", "--data", "synth", "--checkpoints", str(folder)]))
