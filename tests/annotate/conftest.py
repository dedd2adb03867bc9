"""A campaign over small real videos, and a store of each kind to put it in."""

import csv
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import sqlalchemy as sa
import uvicorn

from pipeline.annotate import people
from pipeline.annotate.app import create_app
from pipeline.annotate.campaign import Campaign, CampaignItem, CampaignSettings, write_campaign
from pipeline.annotate.database import Database
from pipeline.annotate.frames import Pictures
from pipeline.annotate.importing import import_campaign
from pipeline.annotate.service import Service
from pipeline.annotate.whatif import WhatIfDesk
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset

CLASSES = ("Lifting something up", "Moving something down", "Turning something")
VIDEOS = 24


def encode_numbered(path, frames, seed):
    """Write frames that carry their number as a bar code of eight blocks, so that each can be told from all others."""
    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 2_000_000
        ground_HWC = np.kron(rng.integers(60, 196, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
        for t in range(frames):
            frame_HWC = ground_HWC.copy()
            for bit in range(8):
                frame_HWC[:16, 8 * bit : 8 * bit + 8] = 255 if t >> bit & 1 else 0
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def number_in(frame_HWC):
    """Return the number that a frame of `encode_numbered` carries, at any size."""
    height, width, _ = frame_HWC.shape
    centres = [(2 * bit + 1) * width // 16 for bit in range(8)]
    return sum(1 << bit for bit, x in enumerate(centres) if frame_HWC[height // 6, x].mean() > 127)


@pytest.fixture(scope="session", name="number_in")
def number_in_fixture():
    return number_in


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """24 numbered videos of 9 to 32 frames in three classes, prepared; returns the root."""
    base = tmp_path_factory.mktemp("numbered")
    root = base / "videos"
    root.mkdir()
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    with (root / "videos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for seed in range(VIDEOS):
            encode_numbered(root / f"clip-{seed:02d}.mp4", 9 + seed, seed)
            writer.writerow([f"clip-{seed:02d}.mp4", CLASSES[seed % 3], "train"])
    prepare(load_listing("folder", str(root)), str(base / "data"), PrepareConfig(ingest=IngestConfig()), in_process)
    return str(base / "data")


def truth_of(num_frames):
    """What the simulated world knows of a video: the middle third is the action, its centre matters most."""
    levels_V = np.zeros(num_frames, np.float32)
    levels_V[num_frames // 3 : 2 * num_frames // 3] = 0.5
    levels_V[num_frames // 2] = 1.0
    return levels_V


@pytest.fixture(scope="session", name="truth_of")
def truth_of_fixture():
    return truth_of


@pytest.fixture(scope="session")
def make_campaign(prepared, tmp_path_factory):
    """A function that writes a campaign over the videos and returns its folder and content."""
    numbers = itertools.count()

    def make(gold=0, examples=0, spatial=False, **settings):
        dataset = PreparedDataset.open(prepared)
        rng = np.random.default_rng(0)
        kinds = ["gold"] * gold + ["example"] * examples + ["work"] * VIDEOS
        items = []
        for place, video in enumerate(dataset.videos("train")):
            kind = kinds[place]
            items.append(
                CampaignItem(
                    video=video.id,
                    label=video.label,
                    predicted=(video.label + 1) % 3,
                    top5=((video.label + 1) % 3, video.label, (video.label + 2) % 3),
                    top5_scores=(0.5, 0.3, 0.2),
                    true_score=0.3,
                    true_rank=2,
                    margin=0.2,
                    num_frames=video.frames,
                    attention_V=rng.random(video.frames).astype(np.float32),
                    window=(0, 8, 1),
                    windows=((0, 8, 1), (video.frames - 8, video.frames, 1)),
                    priority=float(rng.random()),
                    kind=kind,
                    truth_V=None if kind == "work" else truth_of(video.frames),
                    spatial_VP=rng.random((video.frames, 196)).astype(np.float32) if spatial else None,
                    caption="the middle matters" if kind == "example" else "",
                )
            )
        number = next(numbers)
        campaign = Campaign(
            name=f"campaign {number}",
            model="tiny v1",
            dataset=dataset.name,
            classes=dataset.classes,
            passport=dataset.passport,
            root=prepared,
            rule="all of them",
            leak="",
            guide="Mark when it happens.",
            settings=CampaignSettings(spatial=spatial, **settings),
            items=tuple(items),
        )
        folder = tmp_path_factory.mktemp("campaign")
        write_campaign(str(folder), campaign)
        return str(folder), campaign

    return make


POSTGRES = Path("/usr/lib/postgresql")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A PostgreSQL cluster of our own on a socket in a temporary folder; yields the URL of its first database."""
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
    data = str(folder / "data")

    def run(*command):
        subprocess.run(
            [str(tools / command[0]), *command[1:]], check=True, cwd=folder, stdout=subprocess.DEVNULL, **who
        )

    run("initdb", "-D", data, "-U", "star", "-A", "trust", "--no-sync")
    run("pg_ctl", "-D", data, "-o", options, "-w", "-l", str(folder / "log"), "start")
    yield f"postgresql://star@/postgres?host={folder}"
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_database(request, tmp_path_factory):
    """A function that returns where a new, empty database of a kind is."""
    numbers = itertools.count()

    def make(kind):
        if kind == "sqlite":
            return str(tmp_path_factory.mktemp("store") / "annotations.db")
        url = sa.make_url(request.getfixturevalue("postgres"))
        name = f"star{next(numbers)}"
        engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} STRATEGY file_copy"))
        engine.dispose()
        return url.set(database=name).render_as_string(hide_password=False)

    return make


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, new_database):
    """An empty store of each kind, with a clock that stands still."""
    database = Database(new_database(request.param), Clock())
    yield database
    database.close()


@pytest.fixture
def lite(new_database):
    """An empty SQLite store, for what does not depend on the kind."""
    database = Database(new_database("sqlite"), Clock())
    yield database
    database.close()


def person_in(database, name="Ada", role="annotator"):
    """Invite somebody and return the person as a request has them."""
    with database.write() as connection:
        invitation = people.invite(connection, database.clock(), "system", name, role)
        return people.sign_in(connection, database.clock(), invitation.token)[1]


@pytest.fixture(scope="session", name="person_in")
def person_in_fixture():
    return person_in


@pytest.fixture(scope="session")
def loaded(make_campaign):
    """A function that puts a campaign of some settings into a store and returns its id."""

    def load(database, **options):
        folder, _ = make_campaign(**options)
        return import_campaign(database, folder)

    return load


class Server:
    """A running service in this process, on a port of its own."""

    def __init__(self, where, folder, batches, whatif=None, **options):
        self.database = Database(where) if isinstance(where, str) else where
        pictures = Pictures(self.database)
        self.campaign = import_campaign(self.database, folder) if folder else ""
        desk = WhatIfDesk(whatif, pictures) if whatif else None
        self.app = create_app(Service(self.database, pictures, batches, desk, **options))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self):
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()

    def invite(self, name, role="annotator"):
        with self.database.write() as connection:
            return people.invite(connection, self.database.clock(), "system", name, role).token


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """A function that returns a service to be used as a context manager."""

    def make(where, folder="", **options):
        return Server(where, folder, str(tmp_path_factory.mktemp("batches")), **options)

    return make
