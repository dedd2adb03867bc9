"""A campaign over small real videos, and a store of each kind to put it in."""

import contextlib
import csv
import itertools
import socket
import threading
import time
import uuid

import av
import httpx
import numpy as np
import pytest
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


def numbered(frames, seed, height=48):
    """Frames that carry their number as a bar code of eight blocks, so that each can be told from all others."""
    rng = np.random.default_rng(seed)
    ground_HWC = np.kron(rng.integers(60, 196, (height // 8, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    for t in range(frames):
        frame_HWC = ground_HWC.copy()
        for bit in range(8):
            frame_HWC[:16, 8 * bit : 8 * bit + 8] = 255 if t >> bit & 1 else 0
        yield frame_HWC


@pytest.fixture(scope="session", name="numbered")
def numbered_fixture():
    return numbered


def encode_numbered(path, frames, seed):
    """Write them as MPEG-4."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.bit_rate = 2_000_000
        for frame_HWC in numbered(frames, seed):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def number_in(frame_HWC):
    """Return the number that a frame of `numbered` carries, at any size."""
    height, width, _ = frame_HWC.shape
    centres = [(2 * bit + 1) * width // 16 for bit in range(8)]
    return sum(1 << bit for bit, x in enumerate(centres) if frame_HWC[height // 8, x].mean() > 127)


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

    def make(gold=0, examples=0, spatial=False, root=prepared, **settings):
        dataset = PreparedDataset.open(root)
        rng = np.random.default_rng(0)
        kinds = ["gold"] * gold + ["example"] * examples
        items = []
        for place, video in enumerate(dataset.videos("train")):
            kind = kinds[place] if place < len(kinds) else "work"
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
            root=root,
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


class Page:
    """A signed-in browser, near enough."""

    def __init__(self, address):
        self.http = httpx.Client(base_url=address, headers={"Host": "star.test"}, verify=False, timeout=60)
        self.headers = {"Sec-Fetch-Site": "same-origin"}

    def send(self, method, path, operation=None, version=None, lease=None, **values):
        headers = {**self.headers, **values.pop("headers", {})}
        headers |= {"Operation-Id": operation} if operation else {}
        headers |= {"If-Match": f'"{version}"'} if version is not None else {}
        headers |= {"Lease-Token": lease} if lease else {}
        return self.http.request(method, f"/api/v1{path}", headers=headers, **values)

    def get(self, path, **values):
        return self.send("GET", path, **values)

    def claim(self, campaign, tab="tab", **wish):
        wish = {"campaign": campaign, "tab": tab, **wish}
        return self.send("POST", "/leases", operation=uuid.uuid4().hex, json=wish).json()["lease"]


@pytest.fixture
def visit():
    """A function that opens the service at an address, signed in by an invitation if one is given."""
    with contextlib.ExitStack() as stack:

        def open_page(address, token=""):
            page = Page(address)
            stack.callback(page.http.close)
            if token:
                assert page.send("POST", "/session", json={"token": token}).status_code == 200
            return page

        yield open_page


@pytest.fixture
def site(lite, loaded, serve):
    """A function that serves a store with a campaign, and returns the address and the campaign's id."""
    with contextlib.ExitStack() as stack:

        def make(whatif=None, service=None, **settings):
            campaign = loaded(lite, **settings)
            return stack.enter_context(serve(lite, whatif=whatif, **(service or {}))).address, campaign

        yield make


@pytest.fixture
def token(lite):
    """A function that invites somebody and returns the token."""

    def invite(role="annotator", name="Ada"):
        with lite.write() as connection:
            return people.invite(connection, lite.clock(), "system", name, role).token

    return invite


def body_of(frames, level=0.5, **values):
    return {"scores": [level] * frames, "sources": ["human"] * frames, "init": "blank", "seconds": 1, **values}


@pytest.fixture(scope="session", name="body_of")
def body_of_fixture():
    return body_of
