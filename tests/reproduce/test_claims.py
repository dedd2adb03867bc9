"""What a comparison may conclude: of whom, on which videos, and from networks that have learnt something."""

from jobs.mine_misclassified import parse
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.catalogue import choose


def test_the_bench_chooses_edited_classes_without_a_look_at_the_videos_that_test_them():
    mined = [cell for cell in choose(SYNTH, ["all"], costly=True).cells.values() if cell.kind == "mine"]
    assert [cell.name for cell in mined] == ["s0-mined", "beyond-mined"]
    for cell in mined:
        assert parse(["--run", "x", "--out", "y", *cell.options]).on == "train"
