"""A headless Chromium before the real service, with videos of telling lengths. Any console error fails a test."""

import contextlib
import time

import av
import numpy as np
import pytest

from pipeline.annotate.campaign import Campaign, CampaignItem, CampaignSettings, write_campaign
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset

CLASSES = (
    "Putting something behind something",
    "Failing to put something into something because something does not fit",
    "Pushing something so that it falls off the table",
)
# The median of Something-Something V2 first, then its shortest and its longest, then shorter than the model's window.
LENGTHS = (45, 45, 45, 45, 8, 120, 20, 45, 45)
EXPECTED_NOISE = "Failed to load resource"
"""How Chromium itself reports a request that got no answer or a refusal; tests say when they provoke one."""


def encode_scene(path, frames):
    """A red box that passes behind a round thing, so that every frame differs from the one before."""
    width, height = 176, 96
    y_HW, x_HW = np.mgrid[:height, :width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 900_000
        for t in range(frames):
            frame_HWC = np.empty((height, width, 3), np.uint8)
            frame_HWC[:] = (196, 186, 170)
            frame_HWC[60:] = (137, 112, 90)
            centre = 18 + t * (width - 36) / max(frames - 1, 1)
            frame_HWC[(abs(x_HW - centre) < 13) & (abs(y_HW - 50) < 17)] = (188, 82, 62)
            frame_HWC[(x_HW - 92) ** 2 / 20**2 + (y_HW - 56) ** 2 / 26**2 < 1] = (72, 112, 122)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """Videos of 8 to 120 frames, prepared; returns the root."""
    base = tmp_path_factory.mktemp("scenes")
    root = base / "videos"
    root.mkdir()
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    rows = ["path,label,split"]
    for number, frames in enumerate(LENGTHS):
        encode_scene(root / f"{number:02d}.mp4", frames)
        rows.append(f"{number:02d}.mp4,{CLASSES[1]},train")
    (root / "videos.csv").write_text("\n".join(rows) + "\n")
    prepare(load_listing("folder", str(root)), str(base / "data"), PrepareConfig(ingest=IngestConfig()), in_process)
    return str(base / "data")


def truth_of(frames):
    """What there is to see: 0, then the motion, its key moment in the middle, the motion, 0."""
    levels_V = np.zeros(frames, np.float32)
    levels_V[round(0.3 * frames) : round(0.75 * frames)] = 0.5
    levels_V[round(0.45 * frames) : round(0.55 * frames)] = 1.0
    return levels_V


@pytest.fixture(scope="session", name="scene_truth")
def scene_truth_fixture():
    return truth_of


@pytest.fixture(scope="session")
def scene_campaign(scenes, tmp_path_factory):
    """A function that writes a campaign over the scenes, in the order of `LENGTHS`, and returns its folder."""

    def make(gold=0, examples=0, spatial=False, skip=0, **settings):
        dataset = PreparedDataset.open(scenes)
        kinds = ["gold"] * gold + ["example"] * examples
        items = []
        for place, video in enumerate(dataset.videos("train")[skip:]):
            frames, kind = video.frames, kinds[place] if place < len(kinds) else "work"
            t_V = np.arange(frames)
            start = max(0, (frames - 31) // 2)
            items.append(
                CampaignItem(
                    video=video.id,
                    label=1,
                    predicted=0,
                    top5=(0, 1, 2),
                    top5_scores=(0.48, 0.27, 0.11),
                    true_score=0.27,
                    true_rank=2,
                    margin=0.21,
                    num_frames=frames,
                    attention_V=(0.5 + 0.42 * np.sin(t_V / 3.1) * np.cos(t_V / 8)).astype(np.float32),
                    window=(start, start + 32, 1),
                    windows=((start, start + 32, 1),),
                    priority=float(-place),
                    kind=kind,
                    truth_V=None if kind == "work" else truth_of(frames),
                    spatial_VP=np.full((frames, 196), 0.5, np.float32) if spatial else None,
                    caption="The box stops at the rim and turns away." if kind == "example" else "",
                )
            )
        quiet = {"double_share": 0.0, "practice_first": 0, "gold_share": 0.0, "init": "blank"}
        campaign = Campaign(
            name="Round 1",
            model="ST-ABN v17",
            dataset=dataset.name,
            classes=CLASSES,
            passport=dataset.passport,
            root=scenes,
            rule="all of them",
            guide="Begin 0.5 when the hand starts to move the box.\nMark 1 only where the box touches.",
            settings=CampaignSettings(spatial=spatial, **{**quiet, **settings}),
            items=tuple(items),
        )
        folder = tmp_path_factory.mktemp("scene-campaign")
        write_campaign(str(folder), campaign)
        return str(folder)

    return make


class Believer:
    """A network that is right when its attention lies on the true frames, so that an edit can change its answer."""

    def scores(self, video, window, attention_V):
        true = 0.2 if attention_V is None else 0.2 + 0.6 * float(np.mean(attention_V))
        return np.array([0.9 - true, true, 0.1])


@pytest.fixture(scope="module")
def believer():
    return Believer()


class Person:
    """Somebody at a computer: one browser profile, its tabs, and what went wrong in them."""

    def __init__(self, browser, server, name="Aya", role="annotator", *, size=(1280, 800), motion="reduce"):
        self.server = server
        self.invitation = server.invite(name, role)
        viewport = {"width": size[0], "height": size[1]}
        self.context = browser.new_context(viewport=viewport, reduced_motion=motion, locale="en-GB")
        self.context.set_default_timeout(20_000)
        self.faults = []
        self.provoked = False
        """Whether this test makes requests fail, which Chromium itself reports on the console."""
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self.faults.append(f"uncaught: {error.error}"))

    def _console(self, message):
        if message.type not in ("error", "warning"):
            return
        if self.provoked and message.text.startswith(EXPECTED_NOISE):
            return
        self.faults.append(f"{message.type}: {message.text} {message.location}")

    def tab(self, *, signed_in=False):
        """Open the page in a new tab, by invitation at the first time, and wait for a clip."""
        page = self.context.new_page()
        page.goto(self.server.address + ("/" if signed_in else f"/#invite={self.invitation}"))
        page.locator("#strip .cell").first.wait_for()
        return page

    def close(self):
        self.context.close()
        assert self.faults == []


@pytest.fixture
def somebody(chromium):
    """A function that seats people at the page; every one of them must end without an error on the console."""
    with contextlib.ExitStack() as seats:

        def seat(server, *args, **options):
            person = Person(chromium, server, *args, **options)
            seats.callback(person.close)
            return person

        yield seat


@pytest.fixture
def service(serve, new_database, scene_campaign):
    """A function that starts a service over the scenes with settings of a campaign."""
    with contextlib.ExitStack() as running:

        def start(whatif=None, session_s=None, **campaign):
            options = {} if session_s is None else {"session_s": session_s}
            server = serve(new_database("sqlite"), scene_campaign(**campaign), whatif=whatif, **options)
            return running.enter_context(server)

        yield start


def saved(page):
    """Wait until the server has everything."""
    page.locator('#badge[data-status="saved"]').wait_for()


@pytest.fixture(scope="session", name="saved")
def saved_fixture():
    return saved


def answers(server, table="submissions"):
    """What the store holds, past the page: rows of a table with their answer."""
    from pipeline.annotate import tables

    with server.database.read() as connection:
        return connection.execute(getattr(tables, table).select()).mappings().all()


@pytest.fixture(scope="session", name="answers")
def answers_fixture():
    return answers


def levels(page):
    """Levels as the strip shows them."""
    keys = page.locator("#strip .cell[data-frame]").evaluate_all("cells => cells.map((cell) => cell.dataset.level)")
    return [None if key == "unset" else float(key) for key in keys]


@pytest.fixture(scope="session", name="levels")
def levels_fixture():
    return levels


def until(holds, within_s=15.0):
    """Wait until something holds that no element on the page tells of."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


@pytest.fixture(scope="session", name="until")
def until_fixture():
    return until


# Off by default in axe; 24 px is WCAG 2.2's 2.5.8.
RULES = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}


@pytest.fixture
def accessible():
    """A function that lets axe look at a page as it is."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing").Axe()

    def check(page):
        found = axe.run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()

    return check
