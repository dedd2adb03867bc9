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

PRINTED = {
    "s0-table-1": """
3D ResNet-50, 32           51.4 80.1
ST-ABN 3D ResNet-50, 32    58.6 85.5
3D ResNet-50, 32x2         63.8 89.2
ST-ABN 3D ResNet-50, 32x2  64.1 89.6
3D ResNet-101, 32          57.7 82.8
ST-ABN 3D ResNet-101, 32   58.0 83.2
3D ResNet-101, 32x2        65.3 90.1
ST-ABN 3D ResNet-101, 32x2 65.8 90.4
""",
    "s0-table-2": """
ST-ABN                                    20.50 59.76 58.62
ST-ABN + human knowledge                  26.32 61.68 60.65
gain by human knowledge                   5.8 1.9 2.03
control: as long, without human knowledge - - -
""",
    "s0-table-3": """
ST-ABN                   58.62 27.12 31.5 85.45 52.68 32.8
ST-ABN + human knowledge 60.65 20.09 40.6 86.93 43.35 43.6
""",
    "s1-table-1": """
3D ResNet-50, 32             45.2 74.5 55.6 81.6
3D ResNet-50 + ST-ABN, 32    45.9 75.4 56.6 82.0
3D ResNet-50, 32+32          52.9 81.5 63.8 89.2
3D ResNet-50 + ST-ABN, 32+32 53.3 82.0 64.1 89.6
""",
    "s1-table-2": """
as trained                    45.9 75.4 - -
spatial inverted              - - - -
temporal inverted             - - - -
spatial and temporal inverted - - - -
""",
    "thesis-table-4.1": """
Two-Stream      40.5 54.6 59.4
TSN             55 63 68.5
cross attention 55.03 63.9 71.2
control: as long, without maps - - -
""",
    "thesis-table-4.2": """
Two-Stream      88.0 59.4
TSN             94.0 68.5
cross attention 92.7 71.2
control: as long, without maps - -
""",
    "thesis-figure-4.1": """
two phases               - - - -
Algorithm 1, alternating - - - -
""",
    "thesis-figure-4.2": "",
}
"""Every number of the papers, in their digits."""
CITED = """
TSN, BN-Inception, 8              27.8 57.6
TRN Multiscale, BN-Inception, 8   48.8 77.6
TRN Two-stream, BN-Inception, 16  55.5 83.1
CPNet, ResNet-34, 24              57.7 84.0
TSM, ResNet-50, 8                 59.1 85.6
TSM, ResNet-50, 16                63.4 88.5
STM, ResNet-50, 8                 62.3 88.8
STM, ResNet-50, 16                64.2 89.8
GST, ResNet-50, 16                62.6 87.9
ABM, ResNet-50, 16x3              61.3 -
DFB-Net, ResNet-152, 16           57.7 84.0
bLVNet-TAM, bLResNet-101, 32x2    65.2 90.3
SmallBigEn, ResNet-50, 24x2x3     64.5 89.1
PEM, ResNet-50, 16x2              65.0 -
Zhou et al., 3D DenseNet-121, 16  62.9 88.0
"""
"""What S0 table 1 cites."""


def printed(text):
    """Numbers by row, of text as it is printed."""
    found = {}
    for line in text.strip().splitlines():
        name, numbers = re.fullmatch(r"(.*?)\s+((?:(?:[\d.]+|-) ?)+)", line).groups()
        found[name] = numbers.split()
    return found


@pytest.mark.parametrize("key", TABLES_OF_PAPERS)
def test_a_table_has_the_papers_rows_in_the_papers_digits(key):
    table = TABLES_OF_PAPERS[key]
    found = {row.name: [table.published(row.name, c) or "-" for c in table.columns] for row in table.rows}
    assert found == printed(PRINTED[key])
    assert list(found) == list(printed(PRINTED[key]))


def test_a_number_is_the_text_that_is_printed():
    table = TABLES_OF_PAPERS["thesis-table-4.1"]
    assert (table.published("TSN", "spatial"), table.value("TSN", "spatial")) == ("55", 55.0)
    figure = TABLES_OF_PAPERS["thesis-figure-4.1"]
    assert (figure.published("two phases", "fusion"), figure.value("two phases", "fusion")) == ("", None)


def test_what_a_paper_cites_is_told_line_by_line():
    lines = TABLES_OF_PAPERS["s0-table-1"].cited_lines()
    wanted = []
    for name, numbers in printed(CITED).items():
        told = [f"{top} {number}" for top, number in zip(("top-1", "top-5"), numbers, strict=True) if number != "-"]
        wanted.append(f"- {name}: {', '.join(told)}")
    assert lines == wanted
    assert lines[9] == "- ABM, ResNet-50, 16x3: top-1 61.3"
    assert [key for key, table in TABLES_OF_PAPERS.items() if table.cited_lines()] == ["s0-table-1"]


def test_the_share_of_all_follows_from_the_groups():
    """S0 table 2: 722 of 24,777 videos are of edited classes."""
    for name, right in (("ST-ABN", 148 + 14_376), ("ST-ABN + human knowledge", 190 + 14_837)):
        values = {c: TABLES_OF_PAPERS["s0-table-2"].value(name, c) for c in ("edited", "other", "all")}
        assert values["all"] == pytest.approx(100 * right / 24_777, abs=0.01)
        assert values["all"] == pytest.approx((722 * values["edited"] + 24_055 * values["other"]) / 24_777, abs=0.01)


def test_drops_and_gains_are_differences():
    table = TABLES_OF_PAPERS["s0-table-3"]
    for row in table.rows:
        for top in ("top-1", "top-5"):
            drop = table.value(row.name, top) - table.value(row.name, f"inverted {top}")
            assert table.value(row.name, f"drop {top}") == pytest.approx(drop, abs=0.06)
    table = TABLES_OF_PAPERS["s0-table-2"]
    for group in ("edited", "other", "all"):
        gain = table.value("ST-ABN + human knowledge", group) - table.value("ST-ABN", group)
        assert table.value("gain by human knowledge", group) == pytest.approx(gain, abs=0.05)


def test_the_damaged_table_quotes_all_that_survives_and_places_only_the_first_pair():
    table = TABLES_OF_PAPERS["s1-table-2"]
    known = {(row.name, c): v for row in table.rows for c, v in row.values.items()}
    assert known == {("as trained", "V1 top-1"): "45.9", ("as trained", "V1 top-5"): "75.4"}
    told = " ".join(table.notes)
    labelled = (
        "Without a tick 45.9/75.4",
        "S 36.2/66.8",
        "T 28.3/57.4",
        "S+T 22.7/50.0",
        "12.4/29.0 in a line without",
    )
    assert [text for text in labelled if text not in told] == []
    assert sorted(re.findall(r"\d+\.\d/\d+\.\d", told)) == sorted(
        ["45.9/75.4", "36.2/66.8", "28.3/57.4", "22.7/50.0", "12.4/29.0"]
    )


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_every_number_and_picture_of_the_papers_has_something_of_ours(world):
    cells = choose(world, []).cells
    bounds = {bound.key: bound for bound in choose(world, ["all"], costly=True).bounds}
    assert set(TABLES_OF_PAPERS) <= set(bounds)
    for key, bound in bounds.items():
        table = TABLES[key]
        columns = {row.name: set(table.columns) for row in table.rows}
        if key == "beyond-explanations":  # random maps are not compared with themselves
            columns["random"] -= {name for name in table.columns if name.endswith("minus random")}
            for method in ("random", "Grad-CAM"):  # nor is there anything to invert
                columns[method] -= {name for name in table.columns if name.startswith("drop, ")}
        assert {row: set(sources) for row, sources in bound.rows.items()} == columns
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


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_tables_share_networks(world):
    """Table 3 shows table 2's networks; they start from the one that people correct, table 1's but on synth."""
    cells = choose(world, []).cells
    by_key = {bound.key: bound for bound in choose(world, ["all"]).bounds}

    def trained(key):
        found = closure(cells, by_key[key].cells())
        return {cell.name for cell in found if cell.kind in ("train", "system", "finetune")}

    assert trained("s0-table-3") == trained("s0-table-2") == {world.corrected, "s0-edits"}
    assert (world.corrected in trained("s0-table-1")) == (world is PAPERS)
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


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_gain_of_human_knowledge_is_after_less_before(world):
    rows_of = choose(world, ["s0-table-2"]).bounds[0].rows
    for group in ("edited", "other", "all"):
        gain = rows_of["gain by human knowledge"][group]
        assert gain == Drop(of=rows_of["ST-ABN + human knowledge"][group], to=rows_of["ST-ABN"][group])


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
