"""A dry run on absent data says of every row what it needs, and imports neither Ray nor torch."""

import re
import subprocess
import sys

import pytest

from jobs.cli import find_recipe
from jobs.reproduce import ask, main, parse
from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.reproduce.commands import Machines, commands
from pipeline.reproduce.costs import hours_of
from pipeline.reproduce.needs import needs_text
from pipeline.reproduce.papers import PAPERS
from pipeline.train.launch import claims_of
from pipeline.train.recipe import Recipe, RunRecipe
from pipeline.two_stream.recipe import TwoStreamRecipe


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The dry run of everything, in a process of its own, and what it has imported."""
    program = (
        "import sys; from jobs.reproduce import ask, parse; from pipeline.reproduce.needs import needs_text; "
        "from pipeline.reproduce.commands import Machines; "
        "args = parse(sys.argv[1:]); print(needs_text(*ask(args), args.tflops, Machines(8))); "
        "print('LOADED', sorted({'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, "all", "--dry-run", "--out", str(tmp_path_factory.mktemp("out") / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(lines):
    """Lines by what they are about: the text before the first colon of a line, with the lines indented under it."""
    found = {}
    for line in lines:
        if not line.startswith(" "):
            name = line.partition(":")[0]
            found[name] = []
        found[name].append(line.strip())
    return found


def printed(told):
    """The lines of each row as they are printed, by table and row; those of a table's total under row "total"."""
    found, table, row = {}, "", ""
    for line in told.splitlines():
        head = line.strip()
        if (key := line.partition(":")[0]) in PAPERS:
            table = key
        elif line.startswith("  total of "):
            table, row = ("all", "total") if " tables," in line else (table, "total")
            found[table, row] = []
        elif line.startswith("  ") and not line.startswith("    ") and line.endswith(": needs"):
            row = head.rpartition(" (")[0] or head.removesuffix(": needs")
            found[table, row] = []
        elif line.startswith("    ") and table:
            found[table, row].append(line.removeprefix("    "))
        elif head and not line.startswith("  "):
            table = ""
    return found


def rows(told):
    """The lines of each row, with what it shares with an earlier row of its table in full."""
    found, full = {}, {}
    for (table, row), lines in printed(told).items():
        if row == "total":
            continue
        found[table, row] = []
        for name, block in blocks(lines).items():
            again = block[0].startswith(f"{name}: as above")
            assert again == ((table, name) in full), block[0]
            found[table, row] += full[table, name] if again else full.setdefault((table, name), block)
    return found


def test_it_touches_neither_ray_nor_torch(told):
    assert told.splitlines()[-1] == "LOADED []"


def test_no_line_is_wider_than_a_screen(told):
    assert [line for line in told.splitlines() if len(line) > 120] == []


def test_every_row_of_every_table_says_its_data_training_and_checkpoint(told):
    found = rows(told)
    wanted = {(key, row.name) for key, table in PAPERS.items() for row in table.rows}
    wanted |= {(key, "pictures") for key, table in PAPERS.items() if table.pictures}
    assert set(found) == wanted
    for (_, row), lines in found.items():
        assert any(line.startswith("data ") and "train " in line for line in lines)
        assert any(line.startswith("training ") and " FLOP, " in line and " GPU hours" in line for line in lines)
        assert any(line.startswith("first weights: torchvision's ") for line in lines)
        assert any(line.startswith("disk for checkpoints: ") for line in lines)
        assert any(line.startswith("published checkpoint: ") for line in lines)
        tests = [line for line in lines if line.startswith("test ")]
        assert bool(tests) == (row != "pictures")
        assert all("videos x " in line and "GFLOP, " in line and line.endswith(" GPU hours") for line in tests)


@pytest.mark.parametrize(
    ("row", "phrases"),
    [
        (
            ("s0-table-1", "ST-ABN 3D ResNet-101, 32x2"),
            [
                "168,913",
                "24,777",
                "7.4e19 FLOP",
                "205.6 GPU hours",
                "resnet101",
                "test s0-stabn-r101-two: 24,777 videos x 2 clips x 968 GFLOP, 0.13 GPU hours",
            ],
        ),
        (
            ("s0-table-2", "ST-ABN + human knowledge"),
            [
                "2,396",
                "--batches",
                "fine-tuning",
                "261.1 GPU hours",
                "mining s0-mined: 168,913 + 24,777 videos x 1 clip x 618 GFLOP, 0.33 GPU hours",
                "24,777 videos x 3 networks x 4 (attention as trained, 3 inversions) x 618 GFLOP, 0.51 GPU hours",
            ],
        ),
        (
            ("s1-table-1", "3D ResNet-50, 32"),
            [
                "86,017",
                "baseline_r50_ssv2_uniform",
                "baseline_r50_ssv1",
                "test s1-v1-baseline-one: 11,522 videos x 1 clip x 334 GFLOP, 0.01 GPU hours",
            ],
        ),
        (
            ("s1-table-2", "temporal inverted"),
            ["11,522 videos x 1 clip x 4 (attention as trained, 3 inversions) x 618 GFLOP, 0.08 GPU hours"],
        ),
        (
            ("thesis-table-4.1", "TSN"),
            [
                "3,570",
                "1,530",
                "extract_flow.py",
                "tsn_hmdb51",
                "inception_v3",
                "0.63 million pairs, 3 to 10 CPU core hours",
                "1,530 videos x 25 places x 2 passes x 11.4 GFLOP",
            ],
        ),
        (
            ("thesis-table-4.2", "cross attention"),
            [
                "9,537",
                "3,783",
                "two_stream_ucf101",
                "two_stream_hmdb51",
                "2.5 million pairs, 14 to 39 CPU core hours",
                "3,783 videos x 25 places x 8 passes x 11.4 GFLOP, 0.02 GPU hours",
            ],
        ),
        (("thesis-figure-4.1", "Algorithm 1, alternating"), ["two_stream_alternating_hmdb51", "2.8e17 FLOP"]),
    ],
)
def test_a_row_names_what_it_needs(told, row, phrases):
    text = "\n".join(rows(told)[row])
    assert [phrase for phrase in phrases if phrase not in text] == []


def numbers(pattern, lines):
    """The numbers that a pattern finds in lines, in their order."""
    return [float(found[1].replace(",", "")) for line in lines if (found := re.search(pattern, line))]


@pytest.mark.parametrize("key", [*PAPERS, "all"])
def test_a_total_counts_each_thing_once(told, key):
    """What the rows tell in full, each thing once, adds up to the total: trainings, disk and core hours."""
    shown = printed(told)
    total = shown[key, "total"]
    once = {}
    for (table, row), lines in shown.items():
        if row != "total" and key in (table, "all"):
            for name, block in blocks(lines).items():
                if not block[0].startswith(f"{name}: as above"):
                    once.setdefault(name, block)
    trained = {name: block for name, block in once.items() if name.startswith("training ")}
    hours = sum(numbers(r"([\d.,]+) GPU hours$", [block[0] for block in trained.values()]))
    assert numbers(r"^(\d+) trainings?: ", total) == [len(trained)]
    assert numbers(r"trainings?: ([\d.,]+) GPU hours$", total) == [pytest.approx(hours, abs=0.06 * len(trained))]
    disk = sum(numbers(r"disk for checkpoints: ([\d.]+) GB", [line for block in once.values() for line in block]))
    assert numbers(r"([\d.,]+) GB of checkpoints", total) == [pytest.approx(disk, abs=0.5 + 0.06 * len(trained))]
    for pattern in (r"([\d.]+) to [\d.]+ CPU core hours", r"to ([\d.]+) CPU core hours"):
        parts = numbers(pattern, [line for block in once.values() for line in block])
        assert sum(numbers(pattern, total)) == pytest.approx(sum(parts), abs=len(parts))


def test_the_total_of_all_is_less_than_that_of_its_tables(told):
    """Tables share networks: table 3 of S0 trains nothing that table 2 does not."""
    shown = printed(told)
    together = {key: sum(numbers(r"^together ([\d.,]+) GPU hours$", shown[key, "total"])) for key in (*PAPERS, "all")}
    assert together["s0-table-3"] == together["s0-table-2"] == pytest.approx(130.6 + 261.1 + 1.0, abs=0.1)
    assert max(together.values()) == together["all"] < sum(together[key] for key in PAPERS)
    assert "data sets: ssv2, ssv1, hmdb51, ucf101" in shown["all", "total"]
    assert any(line.startswith("disk: about 408 GB of frames, 21 GB of flow, ") for line in shown["all", "total"])


def test_what_is_given_is_not_counted(tmp_path, lay_frames):
    """Data that are prepared take no more disk; the rest stays."""
    given = ["s0-table-1", "--data", lay_frames(tmp_path / "ssv2", "ssv2"), "--out", str(tmp_path / "out")]
    text = needs_text(*ask(parse(given)), 100.0, Machines(8))
    assert "4 trainings: 550.0 GPU hours" in text
    assert "of frames" not in text
    assert "data " not in "\n".join(line.strip() for line in text.splitlines() if line.startswith("    data"))


def test_published_checkpoints_that_are_at_hand_are_tested_at_unknown_hours(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "checkpoint-best.pt").write_text("x")
    asked = ["s0-table-3", "--checkpoints", str(tmp_path / "weights"), "--out", str(tmp_path / "out")]
    text = needs_text(*ask(parse(asked)), 100.0, Machines(8))
    assert "test authors-checkpoint-best-two: 24,777 videos x 2 clips; hours are known when its network is" in text
    assert "2 tests of published checkpoints: hours are known when their networks are" in text


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


def test_the_synth_bench_tells_each_cell_once_a_table_and_counts_them(tmp_path):
    text = needs_text(*ask(parse(["all", "--data", "synth", "--out", str(tmp_path / "none")])), 100.0, Machines())
    first = text.partition("\n\n")[2].partition("\n\n")[0]
    assert first.count("s0-stabn-r50: train ") == 1
    assert "    as above: ssv2, s0-stabn-r50\n" in first
    assert first.endswith("  total of s0-table-1, each thing once: 13 cells to run")
    assert "GPU hours" not in text


@pytest.mark.parametrize("gpus", [0, 4, 8])
def test_machines_are_those_that_the_commands_ask_for(gpus, tmp_path):
    """What a dry run says is what the trainings of the run hold, by the sums that refuse too small a cluster."""
    machines = Machines(gpus=gpus)
    desk, chosen = ask(parse(["all", "--gpus", str(gpus), "--out", str(tmp_path)]))
    shown = printed(needs_text(desk, chosen, 100.0, machines))
    for name, kind in (("s0-stabn-r50", Recipe), ("hmdb51-tsn", TwoStreamRecipe)):
        argv = commands(desk, desk.cells[name], machines)[0].argv
        given = override(find_recipe(argv[1], kind)(), [word for word in argv[2:] if word.startswith("compute.")])
        claims = claims_of(RunRecipe(name="x", compute=given.compute), weights=1, sample_bytes=1)
        cpus, held = (sum(getattr(c, what) * c.count for c in claims) for what in ("cpus", "gpus"))
        block = next(b for lines in shown.values() for n, b in blocks(lines).items() if n == f"training {argv[1]}")
        assert f"machines: {f'{held:g}' if gpus else 'no'} GPUs and {cpus:g} CPUs (--gpus {gpus})" in block


def test_hours_follow_from_the_stated_flop():
    recipe = {"name": "x", "expected": {"cost": "3.6e19 FLOP: 150 epochs"}}
    assert hours_of(recipe, 100.0) == pytest.approx(100.0)
    assert hours_of(recipe, 1000.0) == pytest.approx(10.0)
    with pytest.raises(ValueError, match="states no FLOP"):
        hours_of({"name": "x", "expected": {"cost": "minutes"}}, 100.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "There is no such table"),
        (["all", "--data", "ssv3=x"], "--data cannot be read"),
        (["all", "--data", "ssv2=/no/such/folder"], r"Received: /no/such/folder\. Allowed: .*manifest\.json"),
        (["all", "--tflops", "0"], r"Received: --tflops 0\. Allowed: more than 0"),
        (["all", "--tflops", "nan"], "A GPU has to compute"),
    ],
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


def test_rows_that_nobody_can_fill_are_no_success(tmp_path, capsys):
    """Printed without running they are what was asked for; run, they are what is missing."""
    asked = ["s0-table-1", "--on", "here", "--out", str(tmp_path)]
    assert main([*asked, "--collect"]) == 0
    assert main(asked) == 1
    assert "s0-stabn-r50-one: not begun; its data are not given: --data ssv2=ROOT" in capsys.readouterr().out
