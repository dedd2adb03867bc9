"""The real job on a real Ray cluster (pipeline/flow/on_ray.py): kills, a broken video, GPUs, what a person reads."""

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
import ray

from jobs import extract_flow
from jobs.cli import guarded
from pipeline.core.storage import TEMPORARY
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, prepare
from pipeline.data.prepare.run import in_process as prepare_here
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.data.synth.encode import write_video
from pipeline.flow.config import FlowConfig
from pipeline.flow.dataset import FlowDataset, default_root
from pipeline.flow.extract import ExtractOptions, extract, in_process
from pipeline.flow.on_ray import Queue, Workers, on_ray
from pipeline.flow.solver import Solver
from pipeline.flow.tvl1 import TvL1Config

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

JOB = Path(extract_flow.__file__)
QUICK = FlowConfig(tvl1=TvL1Config(scales=2, warps=1, inner_iterations=5, outer_iterations=1))
ASK = ["--backend", "opencv", "--tvl1", "scales=2", "warps=1", "inner_iterations=5", "outer_iterations=1"]


def make_frames(folder, videos, frames, shard_videos):
    """Prepare videos of 64 x 48 pixels in two classes."""
    for number in range(videos):
        path = folder / "videos" / f"class{number % 2}" / f"{number:03d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        tile_HWC = np.random.default_rng(number).integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        write_video(path, [np.roll(tile_HWC, 3 * t, axis=1) for t in range(frames)], fps=12)
    config = PrepareConfig(ingest=IngestConfig(compare=False), shard_videos=shard_videos)
    prepare(load_listing("folder", str(folder / "videos")), str(folder / "frames"), config, prepare_here)
    return folder / "frames"


def undisturbed(frames, root):
    """What one process without Ray makes of it."""
    options = ExtractOptions(backends=("opencv",))
    extract(PreparedDataset.open(str(frames)), str(root), QUICK, in_process(Solver("opencv")), options)
    return contents(root)


def contents(root):
    files = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return {path: data for path, data in files.items() if TEMPORARY not in path}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Twelve videos in six shards, and their flow."""
    folder = tmp_path_factory.mktemp("small")
    frames = make_frames(folder, 12, 4, shard_videos=2)
    return frames, undisturbed(frames, folder / "flow")


@pytest.fixture(scope="module")
def cluster():
    """This process's own cluster, with two GPUs in name."""
    folder = tempfile.mkdtemp(prefix="star-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_AUTH_MODE": "disabled"}.items():
            patch.setenv(name, value)
        ray.shutdown()  # another module's, should it still be up
        quiet = {"include_dashboard": False, "log_to_driver": False, "_temp_dir": folder}
        ray.init(address="local", num_cpus=4, num_gpus=2, object_store_memory=200 << 20, **quiet)
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ray_folder():
    """Short, since a socket's path has a hundred characters at most."""
    folder = tempfile.mkdtemp(prefix="fl", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def start(frames, root, ray_folder):
    command = [sys.executable, str(JOB), "--data", str(frames), "--out", str(root), *ASK]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": ray_folder}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **pipes)


def kill_when(job, root, shards):
    """SIGKILL the driver when so many shards are finished; it must not have come to its end."""
    while len(list(root.glob("shards/*.json"))) < shards:
        assert job.poll() is None, job.communicate()
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert not (root / "manifest.json").exists()


def killed_and_resumed(frames, root, ray_folder, kills):
    """Kill the job at every number of finished shards in `kills`, let it end, and return what it printed."""
    for shards in kills:
        kill_when(start(frames, root, ray_folder), root, shards)
    job = start(frames, root, ray_folder)
    printed, errors = job.communicate()
    assert job.returncode == 0, errors
    return printed


def hurt(frames, video_id):
    """Overwrite a stored frame of one video with zeros."""
    row = next(row for row in PreparedDataset.open(str(frames)).rows if row.id == video_id)
    jpeg = bytes(read_video(str(frames), row.shard, row.row).jpeg_V[1])
    with (frames / row.shard).open("r+b") as file:
        place = file.read().index(jpeg)
        file.seek(place)
        file.write(b"\0" * len(jpeg))


@pytest.mark.ray
def test_on_ray_the_bytes_are_those_of_one_process(small, cluster, tmp_path, capsys):
    frames, expected = small
    request = ["--data", str(frames), "--out", str(tmp_path / "flow"), *ASK]
    assert extract_flow.main([*request, "--cpus", "0.5"]) == 0
    assert contents(tmp_path / "flow") == expected
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"folder: flow of 12 videos, to {tmp_path / 'flow'}"
    assert any(line.startswith("36 of 36 pairs (100.0%), ") and line.endswith(", 0 quarantined") for line in lines)
    assert "6 shards written, 0 were up to date." in lines
    assert "12 readable videos = 12 with flow + 0 quarantined" in lines
    assert "36 pairs by opencv" in lines

    before = {path: (tmp_path / "flow" / path).stat().st_mtime_ns for path in expected}
    assert extract_flow.main(request) == 0
    assert "Nothing to do: everything is up to date." in capsys.readouterr().out
    assert {path: (tmp_path / "flow" / path).stat().st_mtime_ns for path in expected} == before


@pytest.mark.ray
def test_a_broken_video_costs_only_itself(small, cluster, tmp_path, capsys):
    frames = shutil.copytree(small[0], tmp_path / "frames")
    hurt(frames, "class1/005")
    request = ["--data", str(frames), "--out", str(tmp_path / "flow"), *ASK]
    assert extract_flow.main(request) == 3
    printed = capsys.readouterr()
    assert "12 readable videos = 11 with flow + 1 quarantined" in printed.out
    assert "    class1/005: Frame 1 of video class1/005 cannot be decoded from its shard" in printed.out
    assert "exit status 3: at most 0 quarantined videos are allowed, and 1 are." in printed.err
    flow = FlowDataset.open(str(tmp_path / "flow"))
    assert [row.id for row in flow.rows if row.id not in flow.videos] == ["class1/005"]
    made = contents(tmp_path / "flow")
    same = [path for path in small[1] if path.endswith(".arrow") and made.get(path) == small[1][path]]
    assert len(same) == 5
    assert extract_flow.main([*request, "--allow-quarantine", "1"]) == 0


@pytest.mark.ray
def test_what_no_node_can_run_is_refused(small, cluster, tmp_path, capsys):
    request = ["--data", str(small[0]), "--out", str(tmp_path / "flow"), *ASK]
    assert guarded(extract_flow.main, [*request, "--cpus", "64"]) == 2
    assert "A task would never start. Received: 64.0. Allowed: up to " in capsys.readouterr().err
    assert guarded(extract_flow.main, [*request[:4], "--gpus", "3"]) == 2
    assert "The cluster has too few GPUs. Received: --gpus 3. Allowed: up to " in capsys.readouterr().err


@pytest.mark.ray
def test_a_mistake_found_by_a_task_is_a_message(small, cluster, tmp_path, capsys):
    """A frame shard that goes away while the job runs."""
    frames = shutil.copytree(small[0], tmp_path / "frames")

    def engine(tasks, tell):
        for shard in frames.glob("shards/*.arrow"):
            shard.write_bytes(b"no shard")
        on_ray(Workers(cpu=Solver("opencv")))(tasks, tell)

    def job(_):
        options = ExtractOptions(backends=("opencv",))
        extract(PreparedDataset.open(str(frames)), str(tmp_path / "flow"), QUICK, engine, options)

    assert guarded(job) == 2
    assert "A shard cannot be read" in capsys.readouterr().err


@pytest.mark.ray
def test_a_tree_goes_out_and_comes_in(small, cluster, tmp_path, capsys):
    frames = shutil.copytree(small[0], tmp_path / "frames")
    assert extract_flow.main(["--data", str(frames), *ASK]) == 0
    beside = default_root(PreparedDataset.open(str(frames)), QUICK)
    assert contents(Path(beside)) == small[1]
    assert extract_flow.main(["--data", str(frames), "--export", str(tmp_path / "tree")]) == 0
    assert "12 videos exported, 12 of them now; 0 have no flow" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "tree" / "class0" / "004")
    back = ["--data", str(frames), "--import-tree", str(tmp_path / "tree"), "--out", str(tmp_path / "back")]
    assert extract_flow.main(back) == 3
    assert "missing: 1 (the imported tree has no such folder)" in capsys.readouterr().out
    flow, original = FlowDataset.open(str(tmp_path / "back")), FlowDataset.open(beside)
    sha256 = {row.id: row.sha256 for row in original.rows}
    assert {row.id: row.sha256 for row in flow.rows if row.sha256} == {
        k: v for k, v in sha256.items() if "004" not in k
    }


@pytest.mark.ray
def test_killed_it_ends_with_the_same_bytes(small, ray_folder, tmp_path):
    frames, expected = small
    printed = killed_and_resumed(frames, tmp_path / "flow", ray_folder, (2,))
    assert contents(tmp_path / "flow") == expected
    assert "12 readable videos = 12 with flow + 0 quarantined" in printed


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)  # four clusters, one after the other
def test_a_hundred_videos_killed_three_times_end_with_the_same_bytes(ray_folder, tmp_path):
    frames = make_frames(tmp_path, 100, 6, shard_videos=4)
    expected = undisturbed(frames, tmp_path / "undisturbed")
    printed = killed_and_resumed(frames, tmp_path / "flow", ray_folder, (2, 9, 17))
    assert contents(tmp_path / "flow") == expected
    assert "100 readable videos = 100 with flow + 0 quarantined" in printed
    assert len(FlowDataset.open(str(tmp_path / "flow")).videos) == 100


# Of two data sets that run at the same time, Ray Data closes the log file of one.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*ray-data:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.ray
@pytest.mark.parametrize("gpus_alone", [False, True])
def test_cpu_tasks_and_gpu_actors_take_shards_from_one_queue(small, cluster, tmp_path, gpus_alone):
    """Logical GPUs, since Ray schedules by number; OpenCV stands in for the kernels, so bytes can be compared."""
    solver = Solver("opencv")
    together = Workers(cpu=solver, cpus=0.5, gpu=solver, gpus=2, gpu_cpus=0.5)
    workers = Workers(gpu=solver, gpus=1, cpus=0.0) if gpus_alone else together
    options = ExtractOptions(backends=("opencv",))
    report = extract(PreparedDataset.open(str(small[0])), str(tmp_path / "flow"), QUICK, on_ray(workers), options)
    assert (report.shards_done, report.counts.ok) == (6, 12)
    assert contents(tmp_path / "flow") == small[1]


def test_a_ticket_that_runs_again_gets_the_shard_that_it_had():
    queue = Queue([b"first", b"second"])
    assert [queue.claim(ticket) for ticket in ("cpu0", "gpu0", "cpu1")] == [b"first", b"second", None]
    assert [queue.claim(ticket) for ticket in ("gpu0", "cpu0", "cpu1")] == [b"second", b"first", None]
    queue = Queue([b"first", b"second"])
    assert queue.claim("cpu0") == b"first"
    queue.close()
    assert [queue.claim(ticket) for ticket in ("cpu0", "cpu1")] == [b"first", None]


def test_without_work_no_cluster_is_started(small, tmp_path, capsys):
    undisturbed(small[0], tmp_path / "flow")
    request = ["--data", str(small[0]), "--out", str(tmp_path / "flow"), *ASK]
    done = subprocess.run([sys.executable, str(JOB), *request], capture_output=True, text=True, cwd="/", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing to do" in done.stdout
    assert os.access(JOB, os.X_OK)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--backend", "triton"], "Backend and GPUs do not go together"),
        (["--backend", "opencv", "--preset", "cuda"], "The opencv backend runs OpenCV's CPU algorithm only"),
        (["--allow-quarantine", "many"], "--allow-quarantine cannot be read"),
        (["--size", "340"], "--size cannot be read"),
        (["--tvl1", "gamma=1"], "is not implemented"),
        (["--export", "tree"], "No flow set lies beside the frames"),
    ],
)
def test_a_wrong_request_is_a_message(small, capsys, more, words):
    assert guarded(extract_flow.main, ["--data", str(small[0]), *more]) == 2
    assert words in capsys.readouterr().err


def test_a_place_without_frames_is_a_message(tmp_path, capsys):
    assert guarded(extract_flow.main, ["--data", str(tmp_path)]) == 2
    assert "There is no prepared data set" in capsys.readouterr().err
