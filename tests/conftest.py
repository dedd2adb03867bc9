"""What several areas need: small real videos, prepared; a checkpoint of a small network; a small Ray cluster;
a new database of each kind."""

import contextlib
import csv
import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
import sqlalchemy as sa
import torch
from hypothesis import settings

from models import ModelConfig, build_model
from pipeline.core.config import to_dict
from pipeline.data.config import ClipConfig, DataConfig
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.train import checkpoint
from pipeline.train.recipe import Recipe, TrainConfig

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the threads of several processes would wait for each other by spinning

settings.register_profile("star", deadline=None)
settings.load_profile("star")  # nothing is timed: machines are shared

TINY_CLASSES = ("Lifting something up", "Moving something down", "Turning something")
TINY_LENGTHS = {"train": (12, 9), "validation": (14, 5, 20, 8, 11, 17, 9), "test": (10,)}
"""Frames of the videos of a split; clips have 8, so one is padded."""


def encode_video(path, frames, seed):
    """Write `frames` frames of a drifting pattern as MPEG-4, 48 x 40 pixels, 12 a second."""
    rng = np.random.default_rng(seed)
    pattern_HWC = np.kron(rng.integers(40, 216, size=(10, 12, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        for t in range(frames):
            picture = av.VideoFrame.from_ndarray(np.roll(pattern_HWC, (2 * t, 3 * t), (0, 1)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory):
    """A folder of ten videos and their videos.csv; the test split's label is hidden."""
    root = tmp_path_factory.mktemp("tiny") / "videos"
    root.mkdir()
    (root / "classes.txt").write_text("\n".join(TINY_CLASSES) + "\n")
    with (root / "videos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        seed = 0
        for split, lengths in TINY_LENGTHS.items():
            for frames in lengths:
                encode_video(root / f"{split}-{seed}.mp4", frames, seed)
                writer.writerow([f"{split}-{seed}.mp4", "" if split == "test" else TINY_CLASSES[seed % 3], split])
                seed += 1
    return root


@pytest.fixture(scope="session")
def tiny_root(tiny_videos, tmp_path_factory):
    """The videos prepared; returns the root."""
    root = str(tmp_path_factory.mktemp("prepared") / "tiny")
    config = PrepareConfig(ingest=IngestConfig(short_side=32), shard_videos=4)
    prepare(load_listing("folder", str(tiny_videos)), root, config, in_process)
    return root


def write_checkpoint(folder, root, arch="st_abn", **overrides):
    """Write a checkpoint of an untrained 3D ResNet-10 for 8-frame clips; returns its folder as text."""
    recipe = Recipe(
        name="tiny",
        data=DataConfig(root=root),
        clip=ClipConfig(frames=8, size=32, short_side=32),
        model=ModelConfig(arch=arch, depth=10, width=8, classes=3, frames=8),
        train=TrainConfig(epochs=1, global_batch=4),
    )
    dataset = PreparedDataset.open(root)
    torch.manual_seed(0)
    values = {
        "step": 3,
        "reason": "epoch",
        "model": build_model(recipe.model).state_dict(),
        "optimizer": {"momentum": torch.zeros(2)},
        "recipe": to_dict(recipe),
        "plan": {"seed": 0, "samples": 2, "global_batch": 4, "epochs": 1},
        "passport": dataset.passport,
        "passport_parts": dict(dataset.identity.parts),
        "classes": dataset.classes,
        "mlflow_run_id": "",
    }
    checkpoint.write(str(folder), checkpoint.Snapshot(**(values | overrides)))
    return str(folder)


@pytest.fixture(scope="session")
def make_checkpoint(tiny_root, tmp_path_factory):
    """A function that writes a checkpoint with some values changed."""

    def make(arch="st_abn", **overrides):
        return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tiny_root, arch, **overrides)

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_checkpoint):
    """An ST-ABN checkpoint trained (so it says) on the prepared videos."""
    return make_checkpoint()


@pytest.fixture(scope="module")
def ray_cluster():
    """Four logical CPUs in this process's own cluster, up for one module; its folder is short, sockets live in it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_AUTH_MODE": "disabled"}.items():
            patch.setenv(name, value)
        folder = tempfile.mkdtemp(prefix="star-", dir="/tmp")
        ray.shutdown()  # another module's, should it still be up
        ray.init(
            address="local",
            num_cpus=4,
            object_store_memory=200 << 20,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=folder,
        )
        yield
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


POSTGRES = Path("/usr/lib/postgresql")


@contextlib.contextmanager
def serve_postgres():
    """A PostgreSQL cluster of our own on a socket in a temporary folder.

    Yields the URL of its first database, and what stops it at once.
    """
    tools = next((p.parent for p in sorted(POSTGRES.glob("*/bin/initdb"), reverse=True)), None)
    tools = tools or (Path(found).parent if (found := shutil.which("initdb")) else None)
    if tools is None:
        pytest.skip("PostgreSQL's server (Debian: postgresql) is not installed")
    folder = Path(tempfile.mkdtemp(prefix="star-pg-", dir="/tmp"))
    # The server refuses to run as root, which CI is.
    who = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, "nobody", "nogroup")
    options = "-c fsync=off -c listen_addresses= -c max_connections=120 -c unix_socket_directories=" + str(folder)
    data, started = str(folder / "data"), False

    def run(*command):
        subprocess.run(
            [str(tools / command[0]), *command[1:]], check=True, cwd=folder, stdout=subprocess.DEVNULL, **who
        )

    def stop():
        nonlocal started
        if started:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        started = False

    run("initdb", "-D", data, "-U", "star", "-A", "trust", "--no-sync")
    run("pg_ctl", "-D", data, "-o", options, "-w", "-l", str(folder / "log"), "start")
    started = True
    yield f"postgresql://star@/postgres?host={folder}", stop
    stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    """The URL of the first database of a PostgreSQL cluster for all tests."""
    with serve_postgres() as (url, _):
        yield url


@pytest.fixture
def dying_postgres():
    """The same of a cluster for one test, and what stops it at once."""
    with serve_postgres() as served:
        yield served


@pytest.fixture(scope="session")
def new_database(request, tmp_path_factory):
    """A function that returns where a new, empty database of a kind (sqlite, postgresql) is."""
    numbers = itertools.count()

    def make(kind):
        if kind == "sqlite":
            return str(tmp_path_factory.mktemp("database") / "star.db")
        url = sa.make_url(request.getfixturevalue("postgres"))
        name = f"star{next(numbers)}"
        engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} STRATEGY file_copy"))
        engine.dispose()
        return url.set(database=name).render_as_string(hide_password=False)

    return make


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium; no browser is ever downloaded.

    A file at a time: while Playwright runs it keeps an event loop in the main thread, in which no other test could
    start its own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    binary = shutil.which("chromium")
    if binary is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    sync_api.expect.set_options(timeout=20_000)
    with sync_api.sync_playwright() as playwright:
        # Containers run tests as root, where Chromium has no sandbox; the pages are our own.
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()
