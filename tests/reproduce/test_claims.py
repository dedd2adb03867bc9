"""What a comparison may conclude: of whom, on which videos, and from networks that have learnt something.

Forty videos of six classes, of which the first four have seven: always the same answer gets 17.5 %.
"""

import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.cli import find_recipe
from jobs.mine_misclassified import parse
from pipeline.eval.protocol import protocol_of
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.beyond import claims_beyond
from pipeline.reproduce.catalogue import TABLES, choose
from pipeline.reproduce.cells import Drop, Picked
from pipeline.reproduce.claims import claims_of_papers
from pipeline.reproduce.collect import fill
from pipeline.reproduce.document import claim_text, table_text
from pipeline.reproduce.judge import judge, named, summary
from pipeline.reproduce.rows import edited, stream
from pipeline.reproduce.world import PAPERS

HAND = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "programs" / "by_hand.py")))
first = HAND.first


@pytest.fixture
def bench(tmp_path):
    return HAND.Bench(tmp_path)


def claim(beginning, source="", world=SYNTH):
    (found,) = (one for one in claims_of_papers(world) if one.text.startswith(beginning) and source in one.source)
    return found


def verdicts(bench, *asked):
    """By comparison."""
    return {one.part.name: one for one in judge(bench.desk, claim(*asked))}


def test_the_bench_chooses_edited_classes_without_a_look_at_the_videos_that_test_them():
    mined = [cell for cell in choose(SYNTH, ["all"], costly=True).cells.values() if cell.kind == "mine"]
    assert [cell.name for cell in mined] == ["s0-mined", "beyond-mined"]
    for cell in mined:
        assert parse(["--run", "x", "--out", "y", *cell.options]).on == "train"


def test_where_the_tested_videos_choose_the_edited_classes_table_and_claim_say_so(bench, tmp_path):
    """The papers' world leaves --on to the job, which looks at validation labels, as the paper does."""
    assert parse(["--run", "x", "--out", "y", *PAPERS.mined]).on == "both"
    asked = claim("human knowledge lifts edited", world=PAPERS)
    assert "the gain is too large in the one and too small in the other" in asked.note
    assert not claim("human knowledge lifts them beyond", world=PAPERS).note
    papers = HAND.Bench(tmp_path / "papers", PAPERS)
    text = table_text(fill(papers.desk, TABLES["s0-table-2"], choose(PAPERS, ["s0-table-2"]).bounds[0]), PAPERS)
    assert f"- {asked.note}" in text
    assert "the same videos test them" not in claim("human knowledge lifts edited").note
    for name in ("before", "after", "control"):
        bench.predictions("s0-edits", {"none": first(20)}, f"predictions-{name}.parquet")
    assert claim_text(asked, judge(bench.desk, asked)).endswith(f"\n\n{asked.note}")


@pytest.mark.parametrize(("baseline", "stabn", "culprit"), [(7, 38, "baseline"), (1, 38, "baseline"), (36, 9, "stabn")])
def test_a_network_at_chance_decides_nothing_however_far_the_other_is(bench, baseline, stabn, culprit):
    """Of 40 with 9 right the interval begins at 12.3 %; with 1 right the whole of it is below chance."""
    for name, right in (("s0-baseline-r50-one", baseline), ("s0-stabn-r50-one", stabn)):
        bench.predictions(name, {"none": first(right)})
    bench.predictions("s0-baseline-r101-one", {"none": first(20)})
    bench.predictions("s0-stabn-r101-one", {"none": first(38)})
    asked = claim("ST-ABN is above its baseline", "S0")
    judged = judge(bench.desk, asked)
    share = 100 * {"baseline": baseline, "stabn": stabn}[culprit] / HAND.VIDEOS
    assert [one.verdict for one in judged] == ["undecided at chance", "holds"]
    assert judged[0].words == f"undecided: s0-{culprit}-r50-one is at chance ({share:.2f} %; chance 17.50 %)"
    assert summary(judged) == "holds in 1, undecided at chance in 1 of 2 comparisons"
    assert f"| {judged[0].words}" in claim_text(asked, judged)


def test_a_row_at_chance_is_marked_in_its_table(bench):
    """All 40 are among the first five of six classes, or all are first but for 33: top-5 has a chance of its own."""
    bench.predictions("s0-baseline-r50-one", {"none": first(7, wrong_rank=4)})
    bench.predictions("s0-stabn-r50-one", {"none": first(38)})
    filled = fill(bench.desk, TABLES["s0-table-1"], choose(SYNTH, ["s0-table-1"]).bounds[0])
    at_chance = [place for place, figure in filled.figures.items() if figure.is_chance]
    assert at_chance == [("3D ResNet-50, 32", "top-1")]
    text = table_text(filled, SYNTH)
    assert text.count("videos, at chance") == 1
    assert "- At chance: over all classes" in text
    bench.predictions("s0-baseline-r50-one", {"none": first(33, wrong_rank=5)})
    filled = fill(bench.desk, TABLES["s0-table-1"], choose(SYNTH, ["s0-table-1"]).bounds[0])
    assert [place for place, figure in filled.figures.items() if figure.is_chance] == [("3D ResNet-50, 32", "top-5")]
    bench.predictions("s0-baseline-r50-one", {"none": first(38)})
    filled = fill(bench.desk, TABLES["s0-table-1"], choose(SYNTH, ["s0-table-1"]).bounds[0])
    assert "At chance" not in table_text(filled, SYNTH)


def test_a_network_that_is_bad_at_the_edited_classes_alone_is_not_at_chance(bench):
    """Edited classes are the worst: 0 of 14 before, and 26 of 26 of the others."""
    before = [5 if label in (0, 1) else 0 for label in HAND.LABELS]
    bench.predictions("s0-stabn-early-one", {"none": before})
    for name, ranks in (("before", before), ("after", first(40)), ("control", before)):
        bench.predictions("s0-edits", {"none": ranks}, f"predictions-{name}.parquet")
    assert verdicts(bench, "human knowledge lifts edited")["edited classes"].words == "holds"
    filled = fill(bench.desk, TABLES["s0-table-2"], choose(SYNTH, ["s0-table-2"]).bounds[0])
    assert not any(figure.is_chance for figure in filled.figures.values())


def test_attention_that_falls_to_chance_when_inverted_is_the_claim(bench):
    for name in ("before", "after", "control"):
        bench.predictions("s0-edits", {"none": first(38), "spatial": first(7)}, f"predictions-{name}.parquet")
    bench.predictions("s0-stabn-early-one", {"none": first(9), "spatial": first(1)})
    found = verdicts(bench, "inverting the spatial attention hurts")
    fallen = "s0-edits, after, spatial inverted is at chance (17.50 %; chance 17.50 %)"
    assert found["after human knowledge"].words == f"holds; {fallen}"
    assert found["before human knowledge"].verdict == "undecided at chance"
    assert "undecided: s0-stabn-early-one is at chance (22.50 %" in found["before human knowledge"].words
    (drops,) = verdicts(bench, "it hurts more after human knowledge").values()
    assert drops.difference.low > 0
    assert drops.verdict == "undecided at chance"


def test_an_inversion_that_changes_nothing_is_not_known_to_change_nothing(bench):
    """Of 40 without a change 8.8 % may change: 1 - .025 ** (1 / 40). A drop of drops reaches twice as far."""
    same = {"none": first(38), "spatial": first(38)}
    bench.predictions("s0-stabn-early-one", same)
    for name in ("before", "after", "control"):
        bench.predictions("s0-edits", same, f"predictions-{name}.parquet")
    filled = fill(bench.desk, TABLES["s0-table-3"], choose(SYNTH, ["s0-table-3"]).bounds[0])
    drop, most = filled.figures["ST-ABN", "drop top-1"], 100 * (1 - 0.025 ** (1 / 40))
    assert (drop.value.value, drop.value.low, drop.value.high) == pytest.approx((0, -most, most))
    one = verdicts(bench, "inverting the spatial attention hurts")["before human knowledge"]
    assert (one.difference.low, one.difference.high) == pytest.approx((-most, most))
    (drops,) = verdicts(bench, "it hurts more after human knowledge").values()
    assert (drops.difference.low, drops.difference.high) == pytest.approx((-2 * most, 2 * most))
    assert {one.verdict, drops.verdict} == {"undecided at this size"}


def test_a_drop_of_a_top_5_among_five_classes_says_nothing(bench, monkeypatch):
    monkeypatch.setitem(HAND.scores.__globals__, "CLASSES", 5)
    monkeypatch.setitem(HAND.scores.__globals__, "LABELS", [number % 5 for number in range(HAND.VIDEOS)])
    bench.predictions("s0-stabn-early-one", {"none": first(38, wrong_rank=4), "spatial": first(20, wrong_rank=4)})
    filled = fill(bench.desk, TABLES["s0-table-3"], choose(SYNTH, ["s0-table-3"]).bounds[0])
    trivial = [column for (row, column), figure in filled.figures.items() if row == "ST-ABN" and figure.trivial]
    assert trivial == ["top-5", "inverted top-5", "drop top-5"]


def test_what_is_at_chance_has_nothing_left_to_lose(bench):
    """Both inverted are far below spatial inverted, which is at chance, and below temporal inverted, which is not."""
    ranks = {"none": first(40), "spatial": first(12, wrong_rank=3), "temporal": first(30), "both": first(0)}
    bench.predictions("s1-v1-stabn-one", ranks, protocol=HAND.UNIFORM)
    found = verdicts(bench, "inverting both hurts most")
    assert found["V1, both against spatial"].difference.low > 0
    assert found["V1, both against spatial"].verdict == "undecided at chance"
    assert found["V1, both against temporal"].verdict == "holds"


def streams_of(bench, data):
    """Attention lifts both streams of a system from chance to nine in ten."""
    bench.streams(f"{data}-two-stream-test", {f"without_{c}": first(7) for c in ("spatial", "temporal", "fused")})
    with_maps = {f"with_{c}": first(36) for c in ("spatial", "temporal", "fused")}
    bench.streams(f"{data}-cross-test", with_maps | {f"blind_{c}": first(7) for c in ("spatial", "temporal", "fused")})


@pytest.mark.parametrize(
    ("data", "blind", "seeing"), [("hmdb51", "spatial", "temporal"), ("ucf101", "temporal", "spatial")]
)
def test_a_stream_that_cannot_see_the_class_may_be_at_chance_without_attention(bench, data, blind, seeing):
    streams_of(bench, data)
    title = {"hmdb51": "HMDB-51", "ucf101": "UCF-101"}[data]
    found = verdicts(bench, "cross attention lifts each stream")
    told = f"{data}-two-stream-test, without, {blind} is at chance (17.50 %; chance 17.50 %)"
    assert found[f"{title}, {blind}"].words == f"holds; {told}"
    for part in (seeing, "fusion"):
        assert found[f"{title}, {part}"].verdict == "undecided at chance"
    assert [one.verdict for one in verdicts(bench, "the networks lean on their maps").values()] == ["holds"] * 3


def test_in_videos_that_nobody_made_every_stream_sees_the_class(tmp_path):
    bench = HAND.Bench(tmp_path, replace(SYNTH, made={}))
    streams_of(bench, "hmdb51")
    found = verdicts(bench, "cross attention lifts each stream")
    assert {one.verdict for one in found.values()} == {"undecided at chance"}


def test_unequal_protocols_are_refused_unless_the_comparison_is_marked(bench):
    small = HAND.DENSE.replace("centre", "small centre")
    bench.predictions("s0-stabn-r50-one", {"none": first(20), "spatial": first(10)})
    bench.predictions("s0-baseline-r50-one", {"none": first(20)}, protocol=small)
    with pytest.raises(ValueError, match=r"3D ResNet-50, 32: not comparable: .*small centre crop"):
        verdicts(bench, "ST-ABN is above its baseline", "S0")
    bench.predictions("beyond-swin-one", {"none": first(32)}, protocol=small)
    (asked,) = (one for one in claims_beyond(SYNTH) if one.text.startswith("a transformer host"))
    (found,) = judge(bench.desk, asked)
    assert (found.verdict, found.protocols) == ("holds", (HAND.DENSE, small))
    told = f"- 3D ResNet, 64 pixels, against Swin, 28: unequal protocols, {HAND.DENSE} against {small}."
    assert told in claim_text(asked, (found,))
    bench.predictions("beyond-swin-one", {"none": first(32)})
    assert "unequal" not in claim_text(asked, judge(bench.desk, asked))
    # Marked or not, other data are another matter.
    bench.predictions("beyond-swin-one", {"none": first(32)}, passport="another")
    with pytest.raises(ValueError, match="not comparable"):
        judge(bench.desk, asked)


def test_a_drop_between_unequal_protocols_is_refused(bench):
    bench.predictions("s0-stabn-early-one", {"none": first(20), "spatial": first(10)})
    for name in ("before", "after", "control"):
        bench.predictions("s0-edits", {"none": first(20)}, f"predictions-{name}.parquet", f"{HAND.DENSE}, larger")
    with pytest.raises(ValueError, match="not comparable"):
        fill(bench.desk, TABLES["s0-table-2"], choose(SYNTH, ["s0-table-2"]).bounds[0])


def protocol(cells, side):
    """Under what a network is tested, by its recipe."""
    cell = cells[side.of.cell if isinstance(side, Drop) else side.cell]
    if cell.kind not in ("test", "finetune"):
        return "two streams"
    trained = next(cells[name] for name in cell.needs if cells[name].kind == "train")
    way = cell.options[cell.options.index("--protocol") + 1] if cell.kind == "test" else ""
    return protocol_of(find_recipe(trained.recipe)().clip, way).describe()


@pytest.mark.parametrize("world", [SYNTH, PAPERS], ids=lambda world: world.name)
def test_the_transformer_alone_is_compared_across_protocols(world):
    cells = choose(world, []).cells
    parts = [part for one in claims_of_papers(world) for part in one.parts]
    parts += [part for one in claims_beyond(SYNTH) for part in one.parts] if world.is_synth else []
    for part in parts:
        assert (protocol(cells, part.first) != protocol(cells, part.second)) == part.across, part
    assert [part.name for part in parts if part.across] == ["3D ResNet, 64 pixels, against Swin, 28"] * world.is_synth
    sizes = [find_recipe(name)().clip.size for name in (SYNTH.recipes["s0-stabn-r50"], "swin_bench")]
    assert sizes == [64, 28]
    assert "28 pixels and the ResNet 64" in TABLES["beyond-transformer"].notes[0]


def test_readings_have_names_that_tell_them_apart():
    asked = (edited(SYNTH, "after", inversion="spatial"), stream("hmdb51-cross", "fusion"), Picked("s0-stabn-r50-one"))
    assert [named(one) for one in asked] == [
        "s0-edits, after, spatial inverted",
        "hmdb51-cross-test, with, fused",
        "s0-stabn-r50-one",
    ]
