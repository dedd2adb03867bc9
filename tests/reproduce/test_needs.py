"""A dry run on absent data says of every row what it needs, and imports neither Ray nor torch."""

import subprocess
import sys

import pytest

from jobs.reproduce import main
from pipeline.core.errors import UserError
from pipeline.reproduce.needs import hours_of
from pipeline.reproduce.papers import PAPERS


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The dry run of everything, in a process of its own, and what it has imported."""
    program = (
        "import sys; from jobs.reproduce import main; status = main(sys.argv[1:]); "
        "print('LOADED', sorted({'torch', 'ray', 'mlflow'} & set(sys.modules))); sys.exit(status)"
    )
    command = [sys.executable, "-c", program, "all", "--dry-run", "--out", str(tmp_path_factory.mktemp("out") / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(told):
    """The lines of each row, by table and row."""
    found, table, row = {}, "", ""
    for line in told.splitlines():
        key = line.partition(":")[0]
        if key in PAPERS:
            table = key
        elif line.startswith("  ") and not line.startswith("    ") and line.endswith(": needs"):
            row = line.strip().rpartition(" (")[0] or line.strip().removesuffix(": needs")
            found[table, row] = []
        elif line.startswith("    ") and table:
            found[table, row].append(line.strip())
        elif not line.strip():
            pass
        elif not line.startswith("  "):
            table = ""
    return found


def test_it_touches_neither_ray_nor_torch(told):
    assert told.splitlines()[-1] == "LOADED []"


def test_every_row_of_every_table_says_its_data_training_and_checkpoint(told):
    found = rows(told)
    wanted = {(key, row.name) for key, table in PAPERS.items() for row in table.rows}
    wanted |= {(key, "pictures") for key, table in PAPERS.items() if table.pictures}
    assert set(found) == wanted
    for lines in found.values():
        assert any(line.startswith("data ") and "train " in line for line in lines)
        assert any(line.startswith("training ") and " FLOP, " in line and " GPU hours" in line for line in lines)
        assert any(line.startswith("first weights: torchvision's ") for line in lines)
        assert any(line.startswith("disk for checkpoints: ") for line in lines)
        assert any(line.startswith("published checkpoint: ") for line in lines)


@pytest.mark.parametrize(
    ("row", "phrases"),
    [
        (
            ("s0-table-1", "ST-ABN 3D ResNet-101, 32x2"),
            ["168,913", "24,777", "7.4e19 FLOP", "205.6 GPU hours", "resnet101"],
        ),
        (("s0-table-2", "ST-ABN + human knowledge"), ["2,396", "--batches", "fine-tuning", "261.1 GPU hours"]),
        (("s1-table-1", "3D ResNet-50, 32"), ["86,017", "baseline_r50_ssv2_uniform", "baseline_r50_ssv1"]),
        (("thesis-table-4.1", "TSN"), ["3,570", "1,530", "extract_flow.py", "tsn_hmdb51", "inception_v3"]),
        (("thesis-table-4.2", "cross attention"), ["9,537", "3,783", "two_stream_ucf101", "two_stream_hmdb51"]),
        (("thesis-figure-4.1", "Algorithm 1, alternating"), ["two_stream_alternating_hmdb51", "2.8e17 FLOP"]),
    ],
)
def test_a_row_names_what_it_needs(told, row, phrases):
    text = "\n".join(rows(told)[row])
    assert [phrase for phrase in phrases if phrase not in text] == []


def test_a_base_row_does_not_wait_for_people(told):
    assert not any("edits:" in line for line in rows(told)["s0-table-3", "ST-ABN"])


def test_the_official_files_of_every_data_set_are_named_once(told):
    for name in (
        "something-something-v2-train.json",
        "something-something-v1-train.csv",
        "trainlist03.txt",
        "CLASS_test_split1",
    ):
        assert told.count(name) == 1


def test_hours_follow_from_the_stated_flop():
    recipe = {"name": "x", "expected": {"cost": "3.6e19 FLOP: 150 epochs"}}
    assert hours_of(recipe, 100.0) == pytest.approx(100.0)
    assert hours_of(recipe, 1000.0) == pytest.approx(10.0)
    with pytest.raises(ValueError, match="states no FLOP"):
        hours_of({"name": "x", "expected": {"cost": "minutes"}}, 100.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nothing"], "There is no such table"), (["all", "--data", "ssv3=x"], "--data cannot be read")],
)
def test_a_mistake_is_told(arguments, words, tmp_path):
    with pytest.raises(UserError, match=words):
        main([*arguments, "--dry-run", "--out", str(tmp_path)])


def test_the_synth_bench_names_cells_and_no_official_file(tmp_path, capsys):
    assert main(["all", "--data", "synth", "--dry-run", "--out", str(tmp_path / "none")]) == 0
    text = capsys.readouterr().out
    assert "SYNTH BENCH" in text.splitlines()[0]
    assert "20bn" not in text
    assert all(f"{key}: " in text for key in PAPERS)
    assert "beyond-" not in text
    assert list(tmp_path.iterdir()) == []
