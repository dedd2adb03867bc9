import io
import itertools

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.prepare.ingest import IngestConfig, ingest
from pipeline.data.records import EncodedVideo
from pipeline.data.store.shards import Codec, _Readers, decode_frames, encode_frame, read_video, write_shard
from pipeline.data.video.decode import decode_video

REAL = (
    "ssv2/smth-smth-1.webm",
    "ucf101/ApplyEyeMakeup/mmaction2_test.avi",
    "kinetics/arm_wrestling/mmaction2_demo.mp4",
    "kinetics/cleaning_pool/mmaction2_part_0.mp4",
)


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2))


def encoded(name, label, frames_VHWC, codec=None):
    codec = codec or Codec()
    jpeg_V = tuple(memoryview(encode_frame(frame_HWC, codec)) for frame_HWC in frames_VHWC)
    return EncodedVideo(name, label, 12.5, *frames_VHWC[0].shape[:2], jpeg_V)


@pytest.fixture
def videos(moving_pattern):
    sizes = ((7, 48, 64), (1, 30, 20), (12, 64, 48), (3, 16, 16))
    return [encoded(f"v{i}", i - 1, moving_pattern(*size, seed=i)) for i, size in enumerate(sizes)]


@pytest.fixture(params=["local", "remote"])
def root(request, tmp_path, videos):
    root = str(tmp_path) if request.param == "local" else f"mock:///shards/{request.node.name.split('[')[0]}"
    with storage.publish(storage.join(root, "shards/0.arrow")) as file:
        assert write_shard(file, videos) == len(videos)
    return root


def test_what_is_written_is_read(root, videos):
    for row in (2, 0, 3, 1, 0):
        found, expected = read_video(root, "shards/0.arrow", row), videos[row]
        assert (found.id, found.label, found.fps) == (expected.id, expected.label, expected.fps)
        assert (found.height, found.width) == (expected.height, expected.width)
        assert [bytes(jpeg) for jpeg in found.jpeg_V] == [bytes(jpeg) for jpeg in expected.jpeg_V]


def test_a_local_video_is_not_copied(tmp_path, videos):
    with storage.publish(str(tmp_path / "0.arrow")) as file:
        write_shard(file, videos)
    before = pa.total_allocated_bytes()
    video = read_video(str(tmp_path), "0.arrow", 0)
    assert pa.total_allocated_bytes() - before < sum(len(jpeg) for jpeg in video.jpeg_V)


class Counting(io.BytesIO):
    """Remembers which ranges were read."""

    def __init__(self, data):
        super().__init__(data)
        self.ranges = []

    def read(self, size=-1):
        start = self.tell()
        data = super().read(size)
        self.ranges.append((start, start + len(data)))
        return data


def test_a_video_is_one_contiguous_range(videos):
    whole = io.BytesIO()
    write_shard(whole, videos)
    counting = Counting(whole.getvalue())
    reader = pa.ipc.open_file(pa.PythonFile(counting, mode="r"))
    ranges = []
    for row in range(len(videos)):
        counting.ranges.clear()
        assert reader.get_batch(row).num_rows == 1
        touched = sorted(r for r in counting.ranges if r[0] < r[1])
        assert all(here[1] == there[0] for here, there in itertools.pairwise(touched)), touched
        assert len(touched) <= 2  # the batch's header, then its body
        ranges.append((touched[0][0], touched[-1][1]))
    assert all(here[1] <= there[0] for here, there in itertools.pairwise(ranges))
    overhead = [end - start - sum(map(len, video.jpeg_V)) for (start, end), video in zip(ranges, videos, strict=True)]
    assert max(overhead) < 2000


def test_a_shard_is_the_same_bytes_every_time(videos):
    one, two = io.BytesIO(), io.BytesIO()
    write_shard(one, videos)
    write_shard(two, iter(videos))
    assert one.getvalue() == two.getvalue()


def test_frames_come_in_any_order_and_each_is_decoded_once(monkeypatch, videos):
    decoded = []
    imdecode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flag: decoded.append(bytes(data)) or imdecode(data, flag))
    wish = [6, 0, 0, 3, 6, 6]
    x_THWC = decode_frames(videos[0], wish)
    assert sorted(decoded) == sorted(bytes(videos[0].jpeg_V[i]) for i in (0, 3, 6))
    monkeypatch.undo()
    assert x_THWC.shape == (6, 48, 64, 3)
    for place, index in enumerate(wish):
        assert np.array_equal(x_THWC[place], decode_frames(videos[0], [index])[0])


def test_colours_are_rgb():
    red_HWC = np.zeros((16, 16, 3), np.uint8)
    red_HWC[..., 0] = 255
    x_THWC = decode_frames(encoded("red", 0, [red_HWC]), [0])
    assert np.abs(x_THWC[0].astype(int) - red_HWC).max() <= 2


@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_outside_the_video_is_an_error(videos, index):
    with pytest.raises(IndexError, match="of video v0, which has 7"):
        decode_frames(videos[0], [0, index])


def test_a_row_outside_the_shard_is_an_error(root):
    with pytest.raises(IndexError, match=r"row 4 of shard shards/0.arrow, which has 4"):
        read_video(root, "shards/0.arrow", 4)


def test_a_damaged_frame_is_named(videos):
    broken = EncodedVideo("v9", 0, 12.0, 48, 64, (videos[0].jpeg_V[0], memoryview(b"no jpeg at all")))
    with pytest.raises(UserError, match=r"Frame 1 of video v9 cannot be decoded.*damaged bytes"):
        decode_frames(broken, [0, 1])
    smaller = EncodedVideo("v9", 0, 12.0, 99, 64, videos[0].jpeg_V)
    with pytest.raises(UserError, match="a frame of shape"):
        decode_frames(smaller, [0])


@pytest.mark.parametrize("content", [None, b"", b"no arrow at all" * 100])
def test_a_shard_that_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "0.arrow").write_bytes(content)
    with pytest.raises(UserError, match=r"0\.arrow.*run jobs/prepare_data\.py again"):
        read_video(str(tmp_path), "0.arrow", 0)


def test_readers_stay_open_and_the_oldest_is_closed(tmp_path, videos):
    uris = [str(tmp_path / f"{i}.arrow") for i in range(3)]
    for uri in uris:
        with storage.publish(uri) as file:
            write_shard(file, videos)
    readers = _Readers(limit=2)
    first, second = readers.get(uris[0]), readers.get(uris[1])
    assert readers.get(uris[0]) is first
    readers.get(uris[2])
    assert readers.get(uris[0]) is first
    assert readers.get(uris[1]) is not second


def test_an_impossible_quality_is_refused():
    with pytest.raises(UserError, match=r"Received: 101\. Allowed: 1 to 100"):
        Codec(quality=101)


@pytest.mark.parametrize("name", REAL)
def test_stored_frames_are_40_db_and_the_right_ones(clips, tmp_path, name):
    """At full size the JPEG is the only loss: measured against the original, frame by frame."""
    done = ingest(str(clips / name), IngestConfig(short_side=4096))
    video = EncodedVideo("v", 0, done.fps, done.height, done.width, tuple(memoryview(jpeg) for jpeg in done.jpeg_V))
    with storage.publish(str(tmp_path / "0.arrow")) as file:
        write_shard(file, [video])
    count = len(done.jpeg_V)
    picks = np.unique(np.linspace(0, count - 1, 24).astype(int)).tolist()
    stored_THWC = decode_frames(read_video(str(tmp_path), "0.arrow", 0), picks)
    original_VHWC = decode_video(str(clips / name)).frames_VHWC
    assert len(original_VHWC) == count
    for index, stored_HWC in zip(picks, stored_THWC, strict=True):
        here = psnr(stored_HWC, original_VHWC[index])
        assert here >= 40
        for neighbour in {max(index - 1, 0), min(index + 1, count - 1)} - {index}:
            if not np.array_equal(original_VHWC[neighbour], original_VHWC[index]):
                assert here > psnr(stored_HWC, original_VHWC[neighbour])
