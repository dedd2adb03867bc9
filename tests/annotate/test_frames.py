"""The picture shown as number i is the frame that training uses as index i, on every kind of file that decoders get
wrong: files of numbered frames, read back from what the service sends and from what a clip holds; and real files."""

import asyncio
import contextlib
import csv
import io
import itertools
import os
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from pipeline.annotate.frames import Pictures
from pipeline.annotate.importing import item_uid
from pipeline.annotate.tables import campaigns
from pipeline.core.errors import UserError
from pipeline.data.config import AugmentConfig, ClipConfig
from pipeline.data.feed.clips import load_clip
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.data.synth.encode import write_frames

FRAMES = 37
"""One above a multiple of 12, the distance of key frames, so that the last frame is one."""
B_FRAMES = {"bf": "3", "g": "12", "b_strategy": "0"}
OPEN = "open-gop=1:bframes=3:b-adapt=0:keyint=12:min-keyint=12:scenecut=0"
ENCODED = {
    "b_frames.mp4": ("libx264", "yuv420p", B_FRAMES),
    "edit_list.mov": ("libx264", "yuv420p", B_FRAMES),
    "open_gop.mp4": ("libx264", "yuv420p", {"x264-params": OPEN}),
    "open_gop_h265.mp4": ("libx265", "yuv420p", {"x265-params": f"log-level=none:{OPEN}"}),
    "variable_rate.mp4": ("libx264", "yuv420p", B_FRAMES),
    "variable_rate_vp9.webm": ("libvpx-vp9", "yuv420p", {"crf": "24", "b": "0", "g": "12"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"crf": "24", "b": "0", "g": "12"}),
    "av1.mkv": ("libsvtav1", "yuv420p", {"preset": "12", "crf": "24", "g": "12"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {"qmin": "3", "qmax": "5", "g": "12"}),
    "mpeg4_b_frames.avi": ("mpeg4", "yuv420p", {"qmin": "3", "qmax": "5", "g": "12", "bf": "2"}),
    "ten_bits.mp4": ("libx264", "yuv420p10le", B_FRAMES),
    "rotated_90.mp4": ("libx264", "yuv420p", B_FRAMES),
    "rotated_180.mp4": ("libx264", "yuv420p", B_FRAMES),
    "rotated_270.mp4": ("libx264", "yuv420p", B_FRAMES),
}
"""File to codec, pixel format and options."""
FOLDER = "frame_folder"
REAL = ("unordered.mov", "h265_video.mp4", "gulpio_test.webm", "h264_10bits.mp4", "av1_video.mkv")
CASES = Path(__file__).parents[2].parent / "shared" / "clips" / "decoder_cases"


@contextlib.contextmanager
def kept_priority():
    """Come back to the scheduling of before: SVT-AV1 makes whoever opens it as root a real-time process, whose children
    (browsers, Ray) then starve all others of the machine."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def encode(path, frames):
    """Write a case; turned files hold turned pixels and the matrix that turns them back."""
    codec, pixels, options = ENCODED[path.name]
    angle = int(path.stem.partition("rotated_")[2] or 0)
    times = np.cumsum([0, *itertools.islice(itertools.cycle((1, 4, 2, 1, 7)), FRAMES - 1)])
    varies = path.stem.startswith("variable_rate")
    tick = Fraction(1, 48 if varies else 12)
    with kept_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        stream.codec_context.time_base = tick
        for number, frame_HWC in enumerate(frames):
            turned_HWC = np.ascontiguousarray(np.rot90(frame_HWC, angle // 90))
            frame = av.VideoFrame.from_ndarray(turned_HWC, format="rgb24")
            frame.pts, frame.time_base = int(times[number]) if varies else number, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    if angle:
        _turn(path, angle)


def _turn(path, angle):
    """Write the matrix that turns the picture clockwise by `angle` into the track header of an mp4."""
    content = bytearray(path.read_bytes())
    one = 1 << 16
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[angle]
    place = content.index(b"tkhd") + 4 + 40  # behind version, times, track, duration, layer and volume
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    content[place : place + len(matrix)] = matrix
    path.write_bytes(bytes(content))


@pytest.fixture(scope="module")
def cases(tmp_path_factory, numbered):
    """Every case, prepared as one data set; returns the root."""
    policy = os.sched_getscheduler(0)
    base = tmp_path_factory.mktemp("cases")
    source = base / "videos"
    source.mkdir()
    for seed, name in enumerate(ENCODED):
        encode(source / name, numbered(FRAMES, seed, height=64))
    assert os.sched_getscheduler(0) == policy
    write_frames(source / FOLDER, numbered(FRAMES, 99, height=64))
    classes = ("Lifting something up", "Moving something down", "Turning something")
    (source / "classes.txt").write_text("\n".join(classes) + "\n")
    _list(source, [*ENCODED, FOLDER], classes[0])
    prepare(load_listing("folder", str(source)), str(base / "data"), PrepareConfig(ingest=IngestConfig()), in_process)
    return str(base / "data")


def _list(folder, names, label):
    with (folder / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split"], *[[name, label, "train"] for name in names]])


def facts_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        gaps = {b.pts - a.pts for a, b in itertools.pairwise(frames)}
        return stream.codec_context, frames, gaps


def test_the_cases_are_what_they_are_called(cases):
    """Otherwise the test below would show nothing."""
    source = Path(cases).parent / "videos"
    for name, (codec, pixels, options) in ENCODED.items():
        context, frames, gaps = facts_of(source / name)
        assert len(frames) == FRAMES, name
        assert context.pix_fmt == pixels, name
        assert bool(context.has_b_frames) == ("bf" in options or "bframes" in str(options)), (name, codec)
        assert (len(gaps) > 2) == name.startswith("variable_rate"), name
        assert bool(frames[0].rotation) == name.startswith("rotated"), name


@pytest.fixture(scope="module")
def shown(cases, serve, new_database, make_campaign):
    """The cases as a reviewer sees them: the signed-in connection, and the campaign's id."""
    folder, campaign = make_campaign(root=cases)
    with serve(new_database("sqlite"), folder) as server, httpx.Client(verify=False) as page:
        page.base_url = f"{server.address}/api/v1/"
        page.post("/session", json={"token": server.invite("Eva", "reviewer")}).raise_for_status()
        yield page, campaign.id


@pytest.mark.parametrize("name", [*ENCODED, FOLDER])
def test_what_is_shown_as_frame_i_is_frame_i_of_training(name, cases, shown, number_in):
    page, campaign = shown
    dataset = PreparedDataset.open(cases)
    video = next(v for v in dataset.videos("train") if v.id == Path(name).stem)
    encoded = read_video(dataset.root, video.shard, video.row)
    path = f"/items/{item_uid(campaign, video.id)}"
    strip_HWC = picture(page.get(f"{path}/strip.jpg?w=56"))
    assert video.frames == FRAMES
    for index in range(FRAMES):
        answer = page.get(f"{path}/frames/{index}.jpg")
        assert answer.content == bytes(encoded.jpeg_V[index])  # the very bytes that training decodes
        assert number_in(picture(answer)) == index
        y, x = index // 16 * 56, index % 16 * 56
        assert number_in(strip_HWC[y : y + 56, x : x + 56]) == index
    still = AugmentConfig(crop="center", flip=0, brightness=0, contrast=0, saturation=0, hue=0)
    for frames, sampling in ((16, "dense"), (32, "dense"), (8, "uniform"), (48, "dense")):
        config = ClipConfig(frames=frames, sampling=sampling, size=64, short_side=64)
        for augment in (None, still):
            clip = load_clip(encoded, config, seed=1, augment=augment, flip_map=(0, 1, 2))
            assert [number_in(frame_HWC) for frame_HWC in clip.x_THWC] == clip.idx_T.tolist()


def picture(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_small_pictures_show_the_same_frame(site, token, visit, prepared, number_in):
    address, campaign = site()
    page = visit(address, token("reviewer"))
    dataset = PreparedDataset.open(prepared)
    video = dataset.videos("train")[0]
    encoded = read_video(dataset.root, video.shard, video.row)
    for index in range(video.frames):
        path = f"/items/{item_uid(campaign, video.id)}/frames/{index}.jpg"
        trained_HWC = decode_frames(encoded, [index])[0]
        # Pillow's decoder may round its last step differently from OpenCV's.
        assert np.abs(picture(page.get(path)).astype(int) - trained_HWC).max() <= 2
        assert number_in(picture(page.get(f"{path}?w=56"))) == index


def test_pictures_are_cached_by_content_alone(site, token, visit):
    address, campaign = site()
    page = visit(address, token())
    uid = page.claim(campaign)["item"]
    content = page.get(f"/items/{uid}").json()["content"]
    path = f"/items/{uid}/frames/0.jpg?w=56"
    assert "immutable" in page.get(f"{path}&v={content}").headers["cache-control"]
    assert page.get(f"{path}&v={content[::-1]}").headers["cache-control"] == "private, no-cache"
    assert page.get(path).headers["cache-control"] == "private, no-cache"
    assert "private" in page.get(f"{path}&v={content}").headers["cache-control"]


def test_a_changed_data_set_is_an_error_at_the_start(lite, loaded, prepared, tmp_path):
    campaign = loaded(lite)
    shutil.copytree(prepared, tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.json"
    passport = PreparedDataset.open(prepared).passport
    manifest.write_text(manifest.read_text().replace(passport, "0" * len(passport)))
    with lite.write() as connection:
        connection.execute(sa.update(campaigns).values(root=str(tmp_path / "data")))
    pictures = Pictures(lite)
    with pytest.raises(UserError, match="changed since"):
        pictures.check(campaign)
    pictures.close()


@pytest.mark.parametrize("name", REAL)
def test_picture_i_is_frame_i_of_a_real_file(name, tmp_path):
    if not CASES.is_dir():
        pytest.skip(f"the real clips are not at {CASES}")
    source = tmp_path / "videos"
    source.mkdir()
    shutil.copy(CASES / name, source / name)
    (source / "classes.txt").write_text("a class\nanother\n")
    _list(source, [name], "a class")
    config = PrepareConfig(ingest=IngestConfig(short_side=96))
    prepare(load_listing("folder", str(source)), str(tmp_path / "data"), config, in_process)
    dataset = PreparedDataset.open(str(tmp_path / "data"))
    (video,) = dataset.videos("train")
    row = next(row for row in dataset.rows if row.id == video.id)
    encoded = read_video(dataset.root, video.shard, video.row)
    with av.open(str(CASES / name)) as container:
        frames = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        size = (row.width, row.height)
        file_VHWC = np.stack([cv2.resize(f_HWC, size, interpolation=cv2.INTER_AREA) for f_HWC in frames]).astype(int)
    assert len(file_VHWC) == video.frames

    class Known(Pictures):
        """Finds the video without a campaign."""

        def video(self, item):
            return encoded

    pictures = Known(None)
    facts = {name: getattr(row, name) for name in ("width", "height")}
    item = SimpleNamespace(uid="item", num_frames=video.frames, **facts)
    for index in range(video.frames):
        shown_HWC = np.asarray(Image.open(io.BytesIO(asyncio.run(pictures.frame(item, index, 0))))).astype(int)
        near = range(max(0, index - 3), min(video.frames, index + 4))
        errors = {other: np.abs(shown_HWC - file_VHWC[other]).mean() for other in near}
        assert errors[index] <= min(errors.values()) + 1e-9
    pictures.close()
