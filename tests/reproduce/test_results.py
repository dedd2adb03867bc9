"""Result files to numbers, claims and a document: held against numbers worked out by hand."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jobs.reproduce import main
from pipeline.eval.compare import Paired
from pipeline.eval.explainers import NAMES
from pipeline.eval.faithful import KINDS
from pipeline.eval.metrics import Interval
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.catalogue import TABLES, choose
from pipeline.reproduce.cells import Drop, Picked
from pipeline.reproduce.claims import claims_of_papers
from pipeline.reproduce.collect import fill, measured, read
from pipeline.reproduce.document import cost_text, document, interval, machines_text, table_text
from pipeline.reproduce.judge import Claim, Part, judge, summary, verdict_of
from pipeline.reproduce.machine import hardware, made_by, software
from pipeline.reproduce.papers import PAPERS as PAPERS_OWN
from pipeline.reproduce.world import PAPERS
from pipeline.reproduce.written import report_of, screen, write

HAND = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "programs" / "by_hand.py")))
Bench, first, DENSE, UNIFORM = HAND.Bench, HAND.first, HAND.DENSE, HAND.UNIFORM
CLASSES, VIDEOS, LABELS = HAND.CLASSES, HAND.VIDEOS, HAND.LABELS


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_share_is_of_the_videos_with_a_label(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(30, wrong_rank=3), "spatial": first(10)})
    desk = bench.desk
    assert measured(desk, Picked("s0-stabn-r50-one"), "S0").value.value == pytest.approx(75.0)
    assert measured(desk, Picked("s0-stabn-r50-one", top=5), "S0").value.value == pytest.approx(100.0)
    assert measured(desk, Picked("s0-stabn-r50-one", inversion="spatial", top=5), "S0").value.value == 25.0
    reading = read(desk, Picked("s0-stabn-r50-one"), "S0")
    assert (len(reading.hits), reading.classes, reading.about.passport) == (VIDEOS, CLASSES, "passport-of-ssv2")
    drop = Drop(Picked("s0-stabn-r50-one"), Picked("s0-stabn-r50-one", inversion="spatial"))
    assert measured(desk, drop, "S0").value.value == pytest.approx(50.0)


def test_the_interval_is_the_bootstrap_of_a_share(bench):
    """Of 40 videos with 30 right the standard error is sqrt(.75 * .25 / 40) = 6.85 points."""
    bench.predictions("s0-stabn-r50-one", {"none": first(30)})
    value = measured(bench.desk, Picked("s0-stabn-r50-one"), "S0").value
    error = 100 * np.sqrt(0.75 * 0.25 / VIDEOS)
    assert value.low == pytest.approx(75 - 1.96 * error, abs=2.6)
    assert value.high == pytest.approx(75 + 1.96 * error, abs=2.6)


def test_groups_are_by_true_class(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(40)})
    bench.predictions("s0-edits", {"none": first(20)}, "predictions-after.parquet")
    edited = [number for number in range(VIDEOS) if LABELS[number] in (0, 1)]
    right = sum(number < 20 for number in edited)
    for group, share in (("edited", right / len(edited)), ("other", (20 - right) / (VIDEOS - len(edited)))):
        picked = Picked("s0-edits", "predictions-after.parquet", group=group)
        assert measured(bench.desk, picked, "S0").value.value == pytest.approx(100 * share)


def test_a_number_of_another_pipeline_is_refused(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(30)}, protocol=UNIFORM)
    with pytest.raises(ValueError, match="is not the pipeline of S0"):
        measured(bench.desk, Picked("s0-stabn-r50-one"), "S0")
    with pytest.raises(ValueError, match="is not the pipeline of S3"):
        measured(bench.desk, Picked("s0-stabn-r50-one"), "S3")
    bench.predictions("s0-edits", {"none": first(20)}, "predictions-after.parquet", protocol=UNIFORM)
    with pytest.raises(ValueError, match="s0-edits was measured with 1 clip of 8 segments"):
        measured(bench.desk, Picked("s0-edits", "predictions-after.parquet"), "S0")


def parts(*pairs):
    return Claim(text="better", source="nowhere", pipeline="S0", parts=tuple(Part(*pair) for pair in pairs))


def test_a_claim_is_judged_by_the_interval_of_the_paired_difference(bench):
    """Twelve gained and none lost of 40; one gained; twelve lost."""
    for name, right in (("s0-baseline-r50-one", 20), ("s0-stabn-r50-one", 32), ("s0-stabn-r101-one", 21)):
        bench.predictions(name, {"none": first(right)})
    base, much, little = (Picked(f"s0-{name}-one") for name in ("baseline-r50", "stabn-r50", "stabn-r101"))
    judged = judge(bench.desk, parts(("much", base, much), ("little", base, little), ("less", much, base)))
    assert [one.verdict for one in judged] == ["holds", "undecided at this size", "fails"]
    assert [one.difference.value for one in judged] == pytest.approx([30.0, 2.5, -30.0])
    assert [(one.gained, one.lost) for one in judged] == [(12, 0), (1, 0), (0, 12)]
    assert judged[0].p == pytest.approx(2 * 0.5**12)
    assert judged[1].p == pytest.approx(1.0)
    # Twelve of 40 gained: p = .3, standard error of the share sqrt(.3 * .7 / 40) = 7.2 points.
    assert judged[0].difference.low == pytest.approx(30 - 1.96 * 7.25, abs=2.6)
    assert summary(judged) == "holds in 1, fails in 1, undecided at this size in 1 of 3 comparisons"


def test_drops_are_compared_video_by_video(bench):
    """Before, inversion loses 10 of 40; after, 30 of 40: 50 points more."""
    bench.predictions("s0-stabn-r50-one", {"none": first(30), "spatial": first(20)})
    bench.predictions("s0-edits", {"none": first(40), "spatial": first(10)}, "predictions-after.parquet")
    before = Drop(Picked("s0-stabn-r50-one"), Picked("s0-stabn-r50-one", inversion="spatial"))
    after = Drop(
        Picked("s0-edits", "predictions-after.parquet"),
        Picked("s0-edits", "predictions-after.parquet", inversion="spatial"),
    )
    (judged,) = judge(bench.desk, parts(("drop", before, after)))
    assert (judged.difference.value, judged.p, judged.gained) == (pytest.approx(50.0), None, None)
    assert judged.verdict == "holds"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 2, "holds"), (-2, -0.1, "fails"), (-1, 1, "undecided at this size"), (0.0, 1, "undecided at this size")],
)
def test_zero_inside_the_interval_decides_nothing(low, high, verdict):
    assert verdict_of(Interval((low + high) / 2, low, high)) == verdict


@pytest.mark.parametrize(("gained", "lost"), [(4, 0), (5, 0), (7, 1)])
def test_of_few_differing_videos_nothing_is_concluded(gained, lost):
    """A bootstrap's interval lies above zero all the same; the exact test says p = .125, .0625, .070."""
    pair = Paired(135, gained, lost)
    assert pair.difference().low > 0
    assert verdict_of(pair.difference(), pair.p_value()) == "undecided at this size"
    assert verdict_of(Paired(135, 12, 1).difference(), Paired(135, 12, 1).p_value()) == "holds"


def test_where_all_are_right_the_interval_is_wilsons(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(40), "spatial": first(0)})
    every = measured(bench.desk, Picked("s0-stabn-r50-one"), "S0").value
    none = measured(bench.desk, Picked("s0-stabn-r50-one", inversion="spatial"), "S0").value
    # Of n without a failure the lower bound is n / (n + z^2).
    assert (every.value, every.high, every.low) == (100, 100, pytest.approx(100 * 40 / (40 + 1.959964**2), abs=0.01))
    assert (none.value, none.low, none.high) == (0, 0, pytest.approx(100 - every.low))


def test_a_number_that_a_test_has_stated_is_taken_with_its_interval(bench):
    cell = bench.desk.cells["beyond-explained"]
    folder = Path(bench.desk.folder(cell))
    folder.mkdir(parents=True)
    areas = {"area": {"value": 0.5, "low": 0.4, "high": 0.6}, "against_random": {"value": -0.1, "low": -0.2, "high": 0}}
    kinds = [f"{units}_{mode}" for units, mode in KINDS]
    truth = {"clips": 31, "auc": {"value": 0.75, "low": 0.7, "high": 0.8}}
    where = {"clips": 30, "auc": {"value": 0.25, "low": 0.2, "high": 0.3}}
    methods = {m: {**dict.fromkeys(kinds, areas), "truth": truth, "truth_where": where} for m in NAMES}
    about = {"protocol": DENSE, "passport": "passport-of-ssv2"}
    numbers = {**about, "explanations": {"clips": 48, "methods": methods}}
    (folder / "metrics.json").write_text(json.dumps(numbers))
    (folder / "explanations.png").write_bytes(b"picture")
    bench.record("beyond-explained")
    bench.predictions("s0-stabn-r50-one", {"none": first(30), "spatial": first(28), "temporal": first(10)})
    filled = filled_table(bench, "beyond-explanations")
    assert not filled.lacking
    assert filled.figures["ST-ABN", "frames, deletion"].videos == 48
    assert filled.figures["Grad-CAM", "pixels, insertion, minus random"].value == Interval(-0.1, -0.2, 0)
    assert filled.figures["random", "AUC, active frames"].videos == 31
    assert filled.figures["Grad-CAM", "AUC, cells on the object"].value == Interval(0.25, 0.2, 0.3)
    assert filled.figures["ST-ABN", "drop, temporal inverted"].value.value == pytest.approx(50)
    assert filled.figures["ST-ABN", "drop, spatial inverted"].value.value == pytest.approx(5)
    assert ("Grad-CAM", "drop, spatial inverted") not in filled.figures
    assert ("random", "frames, deletion, minus random") not in filled.figures
    assert "| 0.500 (0.400 to 0.600), 48 clips" in table_text(filled, SYNTH)
    assert filled.pictures["curves"].endswith("explanations.png")


def test_a_document_says_what_machine_and_code_made_its_cells(bench):
    for name, commit in (("s0-baseline-r50-one", "abc"), ("s0-stabn-r50-one", "abc"), ("s0-stabn-r101-one", "def")):
        bench.predictions(name, {"none": first(20)})
        uri = bench.desk.record_uri(bench.desk.cells[name])
        by = {"machine": "a machine", "software": "torch 1", "commit": commit}
        Path(uri).write_text(json.dumps({**json.loads(Path(uri).read_text()), "made_by": by}))
    code = {"commit": "abc", "dirty": "true"}
    assert made_by(is_cluster=False, code=code) == {
        "machine": hardware(),
        "software": software(),
        "commit": "abc with changes",
    }
    assert made_by(is_cluster=True, code={"commit": "abc", "dirty": "false"})["commit"] == "abc"
    assert "Ray cluster" in made_by(is_cluster=True, code=code)["machine"]
    text = machines_text(bench.desk)
    assert text.splitlines() == [
        "- Machine: a machine",
        "- Software: torch 1",
        "- Commit: abc (2 of 3 cells)",
        "- Commit: def (1 of 3 cells)",
    ]
    for name, commit in (("s0-stabn-r50-one", "0123456789abcdef"), ("s0-stabn-r101-one", "0123456789abc with changes")):
        uri = bench.desk.record_uri(bench.desk.cells[name])
        by = {"machine": "a machine", "software": "torch 1", "commit": commit}
        Path(uri).write_text(json.dumps({**json.loads(Path(uri).read_text()), "made_by": by}))
    cells = [[word.strip() for word in line.split("|")] for line in cost_text(bench.desk).splitlines() if "|" in line]
    assert {line[1]: line[3] for line in cells[2:]} == {
        "s0-baseline-r50-one": "abc",
        "s0-stabn-r50-one": "0123456789",
        "s0-stabn-r101-one": "0123456789 with changes",
    }


def test_a_claim_about_cells_that_are_not_done_is_not_measured(bench):
    assert all(judge(bench.desk, claim) == () for claim in claims_of_papers(SYNTH))
    assert summary(()) == "not measured"


def test_every_claim_stays_within_its_pipeline():
    prefixes = {"S0": ("s0-",), "S1": ("s1-",), "S3": ("ucf101-", "hmdb51-")}
    cells = choose(SYNTH, []).cells
    for claim in claims_of_papers(SYNTH):
        for part in claim.parts:
            for source in (part.first, part.second):
                picked = (source.of, source.to) if isinstance(source, Drop) else (source,)
                assert all(one.cell in cells and one.cell.startswith(prefixes[claim.pipeline]) for one in picked)


def filled_table(bench, key):
    return fill(bench.desk, TABLES[key], choose(bench.desk.world, [key]).bounds[0])


def test_a_reading_that_was_not_made_is_no_empty_one(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(30)})
    with pytest.raises(ValueError, match="holds no predictions with inversion spatial"):
        measured(bench.desk, Picked("s0-stabn-r50-one", inversion="spatial"), "S0")


def test_on_the_papers_data_a_table_states_the_difference(tmp_path):
    bench = Bench(tmp_path, PAPERS)
    bench.predictions("s0-stabn-r50-one", {"none": first(30)})
    filled = filled_table(bench, "s0-table-1")
    line = next(one for one in table_text(filled, PAPERS).splitlines() if one.startswith("| ST-ABN 3D ResNet-50, 32 "))
    row, column, paper, ours, difference, protocol, passport = (cell.strip() for cell in line.strip("|").split("|"))
    assert (row, column, paper, protocol) == ("ST-ABN 3D ResNet-50, 32", "top-1", "58.6", DENSE)
    assert ours.startswith("75.00 (")
    assert difference.startswith("+16.40 (")
    assert passport == "passport-of-"
    assert filled.lacking["3D ResNet-50, 32"] == "s0-baseline-r50-one has not been run to its end"


def test_on_the_bench_no_difference_is_stated_and_every_table_says_so(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(30)})
    text = table_text(filled_table(bench, "s0-table-1"), SYNTH)
    assert "SYNTH BENCH" in text
    assert "No difference to the paper is stated" in text
    assert "+16.40" not in text
    assert "| 75.00 (" in text


def test_a_row_that_only_people_can_bring_says_so(tmp_path):
    bench = Bench(tmp_path, PAPERS)
    assert "people annotate what was mined" in filled_table(bench, "s0-table-2").lacking["ST-ABN + human knowledge"]


def test_the_document_holds_tables_claims_costs_commands_and_no_path_of_this_machine(bench, tmp_path):
    bench.predictions("s0-baseline-r50-one", {"none": first(20)})
    bench.predictions("s0-stabn-r50-one", {"none": first(32), "spatial": first(30)})
    layers = bench.desk.cells["hmdb51-layers"]
    folder = Path(bench.desk.folder(layers))
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        (folder / f"layers-{number}.png").write_bytes(b"picture")
    bench.record("hmdb51-layers", seconds=12.4)
    report = report_of(bench.desk, choose(SYNTH, ["all"]), f"python jobs/reproduce.py all --out {tmp_path}")
    path = write(report, tmp_path / "docs" / "synth.md")
    text = path.read_text()
    assert (path.parent / "synth-thesis-figure-4.2-layers-2.png").read_bytes() == b"picture"
    assert "(synth-thesis-figure-4.2-layers-2.png)" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("### ")] == [
        f"{key}:" for key in PAPERS_OWN
    ]
    assert "undecided at this size" not in summary(judge(bench.desk, claims_of_papers(SYNTH)[0]))
    assert "**ST-ABN is above its baseline** (S0 table 1, top-1): holds in 1 of 1 comparisons." in text
    assert "| hmdb51-layers" in text
    assert "jobs/evaluate.py --out $OUT/cells/" in text
    assert str(tmp_path) not in text
    assert "- Machine: not recorded" in text
    assert "passport-of-ssv2" in text
    assert "**ST-ABN is above its baseline**" in screen(report)
    assert document(report).count("SYNTH BENCH") >= len(PAPERS_OWN)


def test_rows_beyond_the_papers_bring_their_comparisons(bench):
    bench.predictions("s0-stabn-r50-one", {"none": first(20), "spatial": first(10)})
    bench.predictions("beyond-swin-one", {"none": first(32)})
    text = screen(report_of(bench.desk, choose(SYNTH, ["beyond-transformer"]), ""))
    assert "**a transformer host is above the ResNet** (beyond the papers" in text
    assert "holds in 1 of 1 comparisons" in text
    assert "| ST-ABN Swin, 32" in text


def test_numbers_are_written_with_their_interval():
    assert interval(Interval(1.234, -0.5, 3.0), "+") == "+1.23 (-0.50 to +3.00)"


def test_what_has_been_measured_can_be_printed_without_running(tmp_path, capsys):
    arguments = ["s0-table-1", "--data", "synth", "--collect", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--document", str(tmp_path / "d.md")]) == 0
    assert "has not been run to its end" in capsys.readouterr().out
    assert (tmp_path / "d.md").exists()
    assert not (tmp_path / "out").exists()
