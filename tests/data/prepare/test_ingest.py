import hashlib
import shutil
import wave

import av
import cv2
import numpy as np
import pytest

from pipeline.data.prepare.ingest import IngestConfig, fingerprint, ingest, shrink
from pipeline.data.synth.encode import write_frames
from pipeline.data.synth.faults import KINDS
from pipeline.data.video.decode import (
    DECODE_ERROR,
    EMPTY,
    MISSING,
    NO_VIDEO_STREAM,
    ONE_FRAME,
    TOO_FEW_FRAMES,
    TRUNCATED,
)


def test_a_readable_video_comes_with_its_facts(tmp_path, make_video):
    path = make_video(tmp_path / "v.webm", frames=20, height=120, width=160)
    done = ingest(str(path), IngestConfig(short_side=60))
    assert (done.reason, done.detail, done.note, done.decoder, done.fps) == ("", "", "", "decord", 12.0)
    assert (done.source_height, done.source_width, done.height, done.width) == (120, 160, 60, 80)
    assert (done.source_bytes, done.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(done.jpeg_V) == 20
    for jpeg in done.jpeg_V:
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (60, 80, 3)


@pytest.mark.parametrize("suffix", ["webm", "avi", "mp4"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_planted_fault_gets_its_reason(tmp_path, make_video, suffix, kind):
    expected, plant = KINDS[kind]
    for seed in range(3):
        path = make_video(tmp_path / f"{seed}.{suffix}", frames=10 + 9 * seed, height=96, width=128, seed=seed)
        plant(path, np.random.default_rng(seed))
        done = ingest(str(path), IngestConfig())
        assert done.reason == expected, done.detail
        assert done.detail
        assert done.jpeg_V == ()
        assert done.source_bytes == path.stat().st_size
        assert done.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_sound_with_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48_000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
        container.mux(cover.encode())
    assert ingest(str(path), IngestConfig()).reason == NO_VIDEO_STREAM


def test_a_sound_file_is_no_video(tmp_path):
    with wave.open(str(tmp_path / "a.mp4"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    assert ingest(str(tmp_path / "a.mp4"), IngestConfig()).reason == NO_VIDEO_STREAM


def test_what_is_not_there_is_missing(tmp_path):
    assert ingest(str(tmp_path / "nowhere.webm"), IngestConfig()).reason == MISSING


def test_more_frames_may_be_asked_for(tmp_path, make_video):
    path = str(make_video(tmp_path / "v.webm", frames=7))
    assert ingest(path, IngestConfig(min_frames=7)).reason == ""
    short = ingest(path, IngestConfig(min_frames=8))
    assert (short.reason, short.detail) == (TOO_FEW_FRAMES, "7 frames, 8 are needed")
    one = str(make_video(tmp_path / "one.webm", frames=1))
    assert ingest(one, IngestConfig(min_frames=8)).reason == ONE_FRAME


def test_a_remote_video_is_the_same(tmp_path, make_video):
    from pipeline.core import storage

    path = make_video(tmp_path / "v.webm")
    storage.publish_bytes("mock:///videos/v.webm", path.read_bytes())
    assert ingest("mock:///videos/v.webm", IngestConfig()) == ingest(str(path), IngestConfig())


class TestFrameFolder:
    @pytest.fixture
    def folder(self, tmp_path, moving_pattern):
        write_frames(tmp_path / "v", moving_pattern(12))
        return tmp_path / "v"

    def test_its_frames_are_the_pictures_in_order(self, folder):
        done = ingest(str(folder), IngestConfig())
        assert (done.reason, done.decoder, done.fps, done.height, done.width) == ("", "frames", 12.0, 48, 64)
        assert done.source_bytes == sum(path.stat().st_size for path in folder.iterdir())
        for number, jpeg in enumerate(done.jpeg_V, start=1):
            given_HWC = cv2.imread(str(folder / f"{number:05d}.jpg")).astype(float)
            stored_HWC = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert 10 * np.log10(255**2 / np.mean((given_HWC - stored_HWC) ** 2)) > 35

    def test_numbers_count_and_not_digits(self, folder):
        for path in sorted(folder.iterdir()):
            path.rename(folder / f"img_{int(path.stem)}.jpg")
        (folder / "thumbs.db").write_bytes(b"of no interest")
        assert len(ingest(str(folder), IngestConfig()).jpeg_V) == 12

    @pytest.mark.parametrize("numbers", [range(1, 13), range(100)])
    def test_six_digits_are_fine_too(self, folder, numbers):
        for path in sorted(folder.iterdir()):
            path.rename(folder / f"{int(path.stem):06d}.jpg")
        assert len(ingest(str(folder), IngestConfig()).jpeg_V) == 12

    def test_a_gap_is_a_truncation(self, folder):
        (folder / "00007.jpg").unlink()
        done = ingest(str(folder), IngestConfig())
        assert (done.reason, done.detail) == (TRUNCATED, "no frame follows 00006.jpg, but 00008.jpg is there")

    def test_a_bad_picture_is_a_decode_error(self, folder):
        (folder / "00007.jpg").write_bytes(b"no picture")
        done = ingest(str(folder), IngestConfig())
        assert (done.reason, done.detail) == (DECODE_ERROR, "00007.jpg is not a picture")

    def test_a_picture_of_another_size_is_a_decode_error(self, folder):
        cv2.imwrite(str(folder / "00007.jpg"), np.zeros((10, 10, 3), np.uint8))
        assert ingest(str(folder), IngestConfig()).detail == "the picture changes its size at frame 6"

    def test_no_pictures_are_an_empty_video(self, folder):
        for path in folder.iterdir():
            path.unlink()
        assert ingest(str(folder), IngestConfig()).reason == EMPTY

    def test_one_picture_is_one_frame(self, folder):
        for path in sorted(folder.iterdir())[1:]:
            path.unlink()
        assert ingest(str(folder), IngestConfig()).reason == ONE_FRAME

    def test_its_hash_covers_names_and_contents(self, folder, tmp_path):
        before = ingest(str(folder), IngestConfig()).sha256
        assert fingerprint(str(folder)) == before
        shutil.copytree(folder, tmp_path / "copy")
        assert fingerprint(str(tmp_path / "copy")) == before
        (folder / "00012.jpg").rename(folder / "00013.jpg")
        assert fingerprint(str(folder)) != before


def test_the_fingerprint_is_the_hash_that_ingest_reports(tmp_path, make_video):
    path = make_video(tmp_path / "v.avi")
    assert fingerprint(str(path)) == ingest(str(path), IngestConfig()).sha256
    assert fingerprint(str(tmp_path / "nowhere")) == ""


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (256, 341)),
        (640, 480, (341, 256)),
        (257, 257, (256, 256)),
        (256, 999, (256, 999)),
        (240, 427, (240, 427)),
        (3000, 301, (2551, 256)),
    ],
)
def test_large_frames_are_reduced_and_small_ones_kept(height, width, expected):
    frame_HWC = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    small_HWC = shrink(frame_HWC, 256)
    assert small_HWC.shape[:2] == expected
    assert small_HWC.dtype == np.uint8
    if expected == (height, width):
        assert small_HWC is frame_HWC


def test_reduction_averages_areas():
    frame_HWC = np.zeros((8, 8, 3), np.uint8)
    frame_HWC[::2, ::2] = 200
    assert np.array_equal(shrink(frame_HWC, 4), np.full((4, 4, 3), 50, np.uint8))
