"""The real job on a real Ray cluster (pipeline/data/prepare/on_ray.py): faults, kills, and what a person reads."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from jobs import prepare_data
from jobs.cli import guarded
from pipeline.core.errors import UserError
from pipeline.core.storage import TEMPORARY
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store import catalog
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.synth.encode import write_video
from pipeline.data.synth.faults import KINDS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

JOB = Path(prepare_data.__file__)
VIDEOS, EACH, SHARD = 200, 5, 10


def moving_pattern(frames, seed):
    tile_HWC = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return [np.roll(tile_HWC, 3 * t, axis=1) for t in range(frames)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Two hundred videos in two classes, forty of them broken in eight ways; returns the folder and the truth."""
    folder, truth = tmp_path_factory.mktemp("source"), {}
    broken = [kind for kind in KINDS for _ in range(EACH)]
    for number in range(VIDEOS):
        path = folder / f"class{number % 2}" / f"{number:03d}.{('webm', 'avi', 'mp4')[number % 3]}"
        path.parent.mkdir(exist_ok=True)
        write_video(path, moving_pattern(30 if number % 5 == 0 else 4, number), fps=12)
        if number % 5 == 0:
            reason, plant = KINDS[broken[number // 5]]
            plant(path, np.random.default_rng(number))
            truth[str(path.relative_to(folder).with_suffix(""))] = reason
    assert len(truth) == EACH * len(KINDS) == 40
    return folder, truth


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    """What one process without Ray makes of it."""
    root = tmp_path_factory.mktemp("undisturbed")
    prepare(load_listing("folder", str(source[0])), str(root), PrepareConfig(shard_videos=SHARD), in_process)
    return contents(root)


@pytest.fixture(scope="module")
def ray_folder():
    """Short, since a socket's path has a hundred characters at most."""
    folder = tempfile.mkdtemp(prefix="pr", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def start(source, root, ray_folder, *more):
    command = [sys.executable, str(JOB), "--name", "folder", "--source", str(source), "--out", str(root)]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": ray_folder}
    return subprocess.Popen(
        [*command, "--shard-videos", str(SHARD), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def kill_when(job, root, shards):
    """SIGKILL the job when so many shards are finished; it must not have come to its end."""
    while len(list(root.glob("shards/*.json"))) < shards:
        assert job.poll() is None, job.communicate()
        time.sleep(0.005)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert not (root / "manifest.json").exists()


def check(root, truth, undisturbed, printed, errors):
    """The summary, the shards and the quarantine of a finished run tell the truth."""
    lines = printed.splitlines()
    assert "200 videos listed = 160 readable + 40 quarantined" in lines
    assert any("videos (100.0%)" in line and line.endswith("quarantined") for line in lines)
    for reason in set(truth.values()):
        assert f"  {reason}: {list(truth.values()).count(reason)}" in lines
    assert "exit status 3: at most 0 quarantined videos are allowed" in errors
    assert {path: data for path, data in contents(root).items() if TEMPORARY not in path} == undisturbed
    dataset = PreparedDataset.open(str(root))
    assert catalog.count(dataset.rows).readable == 160
    assert len(dataset.videos("train")) == 160
    rows = catalog.from_parquet((root / "quarantine.parquet").read_bytes())
    assert {row.id: row.reason for row in rows} == truth


@pytest.mark.ray
def test_on_ray_good_videos_are_stored_bad_ones_named_and_the_bytes_those_of_one_process(
    source, undisturbed, ray_cluster, tmp_path, capsys
):
    folder, truth = source
    root = tmp_path / "root"
    request = ["--name", "folder", "--source", str(folder), "--out", str(root), "--shard-videos", str(SHARD)]
    assert prepare_data.main(request) == 3
    check(root, truth, undisturbed, *capsys.readouterr())

    before = {path: (root / path).stat() for path in contents(root)}
    assert prepare_data.main([*request, "--allow-quarantine", "40"]) == 0
    assert "Nothing to do: everything is up to date." in capsys.readouterr().out
    after = {path: (root / path).stat() for path in contents(root)}
    assert {p: (s.st_mtime_ns, s.st_ino) for p, s in after.items()} == {
        p: (s.st_mtime_ns, s.st_ino) for p, s in before.items()
    }


@pytest.mark.ray
def test_a_task_that_no_node_can_run_is_refused(source, ray_cluster, tmp_path, capsys):
    request = ["--name", "folder", "--source", str(source[0]), "--out", str(tmp_path), "--cpus", "64"]
    assert guarded(prepare_data.main, request) == 2
    assert "A task would never start. Received: 64.0. Allowed: up to " in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_bytes(source, undisturbed, ray_folder, tmp_path):
    folder, truth = source
    root = tmp_path / "root"
    for shards in (2, 7, 13):
        kill_when(start(folder, root, ray_folder), root, shards)
        with pytest.raises(UserError, match="There is no prepared data set"):
            PreparedDataset.open(str(root))
    job = start(folder, root, ray_folder)
    printed, errors = job.communicate()
    assert job.returncode == 3
    check(root, truth, undisturbed, printed, errors)


@pytest.fixture(scope="module")
def small(source, tmp_path_factory):
    """The request for six videos, two of them broken, that this process has prepared already: no run starts Ray."""
    folder = tmp_path_factory.mktemp("small")
    for path in sorted(source[0].rglob("*.*"))[:6]:
        (folder / "source" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / "source" / path.parent.name)
    prepare(load_listing("folder", str(folder / "source")), str(folder / "root"), PrepareConfig(), in_process)
    return ["--name", "folder", "--source", str(folder / "source"), "--out", str(folder / "root")]


@pytest.mark.parametrize(("allowed", "status"), [("0", 3), ("1", 3), ("2", 0), ("0.3", 0), ("0.1", 3), ("1.0", 0)])
def test_the_exit_status_says_whether_too_many_are_quarantined(small, capsys, allowed, status):
    assert prepare_data.main([*small, "--allow-quarantine", allowed]) == status
    printed = capsys.readouterr()
    assert "6 videos listed = 4 readable + 2 quarantined" in printed.out
    if status == 0:
        assert printed.err == ""
        return
    assert printed.err.startswith("exit status 3: at most ")
    for words in ("and 2 are", small[-1] + "/quarantine.parquet names them", "--allow-quarantine 2."):
        assert words in printed.err
    reasons = printed.err.partition("--retry ")[2].partition(",")[0]
    assert len(prepare_data.parse([*small, "--retry", *reasons.split()]).retry) == len(reasons.split()) > 0


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "7"])
def test_an_allowance_that_cannot_be_meant_is_refused(small, capsys, text):
    assert guarded(prepare_data.main, [*small, f"--allow-quarantine={text}"]) == 2
    assert "--allow-quarantine cannot be read. Received: " in capsys.readouterr().err


def test_missing_files_are_a_message_and_not_a_traceback(small, capsys, tmp_path):
    (tmp_path / "videos.csv").write_text("path,label,split\nclass0/nowhere.mp4,class0,train\n")
    assert guarded(prepare_data.main, [*small, "--replace", "--metadata", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 1 of 1 listed videos are not below")
    assert "--quarantine-missing" in error


def test_it_runs_as_a_program_from_anywhere(small, tmp_path):
    done = subprocess.run([sys.executable, str(JOB), *small], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert "Nothing to do" in done.stdout
    assert "Traceback" not in done.stderr
    assert os.access(JOB, os.X_OK)
