"""The papers' tables are the papers', and every number of theirs has exactly one thing of ours beside it."""

import re

import pytest

from jobs.reproduce import recipe_of
from pipeline.reproduce import beyond, rows
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.catalogue import TABLES, choose
from pipeline.reproduce.cells import Drop, Picked, closure
from pipeline.reproduce.cells import cells_of as cells_of_source
from pipeline.reproduce.papers import PAPERS as TABLES_OF_PAPERS
from pipeline.reproduce.world import PAPERS

WORLDS = (SYNTH, PAPERS)

S0_TABLE_1 = """
3D ResNet-50, 32           51.4 80.1
ST-ABN 3D ResNet-50, 32    58.6 85.5
3D ResNet-50, 32x2         63.8 89.2
ST-ABN 3D ResNet-50, 32x2  64.1 89.6
3D ResNet-101, 32          57.7 82.8
ST-ABN 3D ResNet-101, 32   58.0 83.2
3D ResNet-101, 32x2        65.3 90.1
ST-ABN 3D ResNet-101, 32x2 65.8 90.4
"""
S1_TABLE_1 = """
3D ResNet-50, 32             45.2 74.5 55.6 81.6
3D ResNet-50 + ST-ABN, 32    45.9 75.4 56.6 82.0
3D ResNet-50, 32+32          52.9 81.5 63.8 89.2
3D ResNet-50 + ST-ABN, 32+32 53.3 82.0 64.1 89.6
"""


@pytest.mark.parametrize(("key", "text"), [("s0-table-1", S0_TABLE_1), ("s1-table-1", S1_TABLE_1)])
def test_a_table_has_the_papers_rows(key, text):
    table = TABLES_OF_PAPERS[key]
    wanted = {}
    for line in text.strip().splitlines():
        name, numbers = re.fullmatch(r"(.*?)\s+((?:\d+\.\d+ ?)+)", line).groups()
        wanted[name] = [float(number) for number in numbers.split()]
    assert {row.name: [row.values[column] for column in table.columns] for row in table.rows} == wanted


def test_the_share_of_all_follows_from_the_groups():
    """S0 table 2: 722 of 24,777 videos are of edited classes."""
    for name, right in (("ST-ABN", 148 + 14_376), ("ST-ABN + human knowledge", 190 + 14_837)):
        values = {c: TABLES_OF_PAPERS["s0-table-2"].value(name, c) for c in ("edited", "other", "all")}
        assert values["all"] == pytest.approx(100 * right / 24_777, abs=0.01)
        assert values["all"] == pytest.approx((722 * values["edited"] + 24_055 * values["other"]) / 24_777, abs=0.01)


def test_drops_are_differences():
    table = TABLES_OF_PAPERS["s0-table-3"]
    for row in table.rows:
        for top in ("top-1", "top-5"):
            drop = row.values[top] - row.values[f"inverted {top}"]
            assert row.values[f"drop {top}"] == pytest.approx(drop, abs=0.06)


def test_of_the_damaged_table_only_the_first_pair_is_a_number():
    table = TABLES_OF_PAPERS["s1-table-2"]
    known = {(row.name, c): v for row in table.rows for c, v in row.values.items()}
    assert known == {("as trained", "V1 top-1"): 45.9, ("as trained", "V1 top-5"): 75.4}


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_every_number_and_picture_of_the_papers_has_something_of_ours(world):
    cells = choose(world, []).cells
    bounds = {bound.key: bound for bound in choose(world, ["all"], costly=True).bounds}
    assert set(TABLES_OF_PAPERS) <= set(bounds)
    for key, bound in bounds.items():
        table = TABLES[key]
        assert {row: set(sources) for row, sources in bound.rows.items()} == {
            row.name: set(table.columns) for row in table.rows
        }
        assert set(bound.standing) == set(bound.rows)
        assert set(bound.pictures) == set(table.pictures)
        assert set(bound.cells()) <= set(cells)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_tables_networks_are_of_its_pipeline(world):
    """S0 takes consecutive frames, S1 segments; a table holds networks of one of them."""
    cells = choose(world, []).cells
    for bound in choose(world, ["all"], costly=True).bounds:
        trained = [cell for cell in closure(cells, bound.cells()) if cell.kind == "train"]
        ways = {recipe_of(cell)["clip"]["sampling"] for cell in trained}
        assert ways == {"S0": {"dense"}, "S1": {"uniform"}, "S3": set()}[TABLES[bound.key].pipeline], bound.key


def test_tables_share_networks():
    """Table 3 shows table 2's networks, table 2 starts from table 1's, figure 4.2 is of table 4.1's system."""
    cells = choose(SYNTH, []).cells
    by_key = {bound.key: bound for bound in choose(SYNTH, ["all"]).bounds}

    def trained(key):
        found = closure(cells, by_key[key].cells())
        return {cell.name for cell in found if cell.kind in ("train", "system", "finetune")}

    assert trained("s0-table-3") == trained("s0-table-2") == {"s0-stabn-r50", "s0-edits"}
    assert "s0-stabn-r50" in trained("s0-table-1")
    assert trained("s1-table-2") < trained("s1-table-1")
    assert trained("thesis-figure-4.2") < trained("thesis-table-4.1") < trained("thesis-table-4.2")


def test_a_drop_is_of_one_network_and_its_inversion():
    bound = next(b for b in choose(PAPERS, ["s0-table-3"]).bounds)
    for sources in bound.rows.values():
        for column, source in sources.items():
            if column.startswith("drop"):
                assert isinstance(source, Drop)
                assert (source.of, source.to.inversion) == (sources[column.removeprefix("drop ")], "spatial")
                assert len(set(cells_of_source(source))) == 1
            else:
                assert isinstance(source, Picked)


def test_a_costly_row_beyond_the_papers_is_left_out_unless_asked_for():
    named = {bound.key for bound in choose(SYNTH, ["all"]).bounds}
    assert named == set(TABLES) - beyond.COSTLY
    assert {bound.key for bound in choose(SYNTH, ["all"], costly=True).bounds} == set(TABLES)
    assert [bound.key for bound in choose(SYNTH, ["beyond-transformer"]).bounds] == ["beyond-transformer"]


def test_before_human_knowledge_is_table_1s_network():
    before = choose(PAPERS, ["s0-table-2"]).bounds[0].rows["ST-ABN"]
    assert before["all"] == Picked(f"{rows.BASE}-one")
    assert before["edited"].cell == rows.EDITS


def test_the_longest_lane_is_begun_first():
    chosen = choose(SYNTH, ["all"])
    lanes = list(dict.fromkeys(chosen.cells[name].lane for name in chosen.wanted(SYNTH.first)))
    assert lanes == list(SYNTH.first)
    assert sorted(chosen.wanted(SYNTH.first)) == sorted(chosen.wanted())
