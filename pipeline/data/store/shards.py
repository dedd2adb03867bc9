"""Shards: Arrow IPC files that hold every frame of some videos as JPEG, one record batch a video.

The body is not compressed again and a video is one record batch, so reading one is one contiguous range of the file:
mapped memory on a local disk, a ranged request on an object store. Legend: V video frame, T frame of the clip.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import EncodedVideo

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("jpeg", pa.list_(pa.field("item", pa.large_binary(), nullable=False)), nullable=False),
    ]
)

PREPARE = "jobs/prepare_data.py"
"""What writes these shards, for messages."""
OPEN_SHARDS = 64
"""Readers a process keeps open; a reader is a mapped file (local) or a parsed footer (remote)."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How frames are stored. The defaults keep 41 dB on every real clip tried: docs/decisions/0003-shards.md."""

    format: Literal["jpeg"] = "jpeg"
    quality: int = 95
    """libjpeg quality, 1 to 100."""

    sampling: Literal["4:4:4", "4:2:0"] = "4:4:4"
    """Chroma resolution. 4:2:0 is a sixth smaller and drops saturated edges below 30 dB."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            fix = "set --quality; 95 is the default"
            raise UserError(problem("The JPEG quality is impossible", got=self.quality, allowed="1 to 100", fix=fix))

    def to_dict(self) -> dict[str, Any]:
        """Return the codec as the manifest records it."""
        return asdict(self)


_SAMPLING = {"4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420}


def encode_frame(frame_HWC: npt.NDArray[np.uint8], codec: Codec) -> bytes:
    """Return one RGB uint8 frame as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, codec.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[codec.sampling]]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR), options)
    assert done, "OpenCV encodes every uint8 frame with three channels"
    encoded: bytes = data.tobytes()
    return encoded


def decode_frames(video: EncodedVideo, frames: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Decode `frames` of a video, each distinct one once.

    Args:
        video: as `read_video` returned it.
        frames: T indices in any order, repetitions allowed.

    Returns:
        x_THWC, RGB uint8.

    Raises:
        IndexError: an index outside the video.
        UserError: a stored frame that is not a JPEG any more; the shard is damaged.
    """
    decoded: dict[int, npt.NDArray[np.uint8]] = {}
    x_THWC = np.empty((len(frames), video.height, video.width, 3), np.uint8)
    for t, index in enumerate(frames):
        if not 0 <= index < len(video.jpeg_V):
            raise IndexError(f"frame {index} of video {video.id}, which has {len(video.jpeg_V)}")
        if index not in decoded:
            decoded[index] = _decode_frame(video, index)
        x_THWC[t] = decoded[index]
    return x_THWC


def _decode_frame(video: EncodedVideo, index: int) -> npt.NDArray[np.uint8]:
    frame_HWC = cv2.imdecode(np.frombuffer(video.jpeg_V[index], np.uint8), cv2.IMREAD_COLOR_RGB)
    if frame_HWC is None or frame_HWC.shape != (video.height, video.width, 3):
        raise UserError(
            problem(
                f"Frame {index} of video {video.id} cannot be decoded from its shard",
                got="damaged bytes" if frame_HWC is None else f"a frame of shape {frame_HWC.shape}",
                allowed=f"a JPEG of {video.height} x {video.width}",
                fix="run jobs/prepare_data.py with --verify; it rewrites damaged shards",
            )
        )
    return frame_HWC  # type: ignore[no-any-return]


def write_shard(file: IO[bytes], videos: Iterable[EncodedVideo]) -> int:
    """Write `videos` to an open binary file, one record batch each in the order given; returns how many."""
    count = 0
    with pa.ipc.new_file(file, SCHEMA) as writer:
        for video in videos:
            columns = [[video.id], [video.label], [video.fps], [video.height], [video.width], [list(video.jpeg_V)]]
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, SCHEMA, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
            count += 1
    return count


def read_video(root: str, shard: str, row: int) -> EncodedVideo:
    """Read one video of a prepared data set; its frames stay compressed and, on a local disk, are not even copied.

    Args:
        root: the prepared data set, a path or URI.
        shard: path of the shard below `root`.
        row: record batch of the shard.

    Raises:
        UserError: the shard is not there or cannot be read.
        IndexError: `row` is outside the shard.
    """
    batch = read_batch(root, shard, row)
    value = {name: batch.column(name)[0].as_py() for name in ("id", "label", "fps", "height", "width")}
    return EncodedVideo(**value, jpeg_V=cells(batch, "jpeg"))


def read_batch(root: str, shard: str, row: int, job: str = PREPARE) -> Any:
    """Return one record batch of a shard, through a reader that this process keeps open.

    Args:
        root: what the shard belongs to, a path or URI.
        shard: path of the shard below `root`.
        row: record batch of the shard.
        job: what wrote the shard, for the message.

    Raises:
        UserError: the shard is not there or cannot be read.
        IndexError: `row` is outside the shard.
    """
    reader, lock = _READERS.get(storage.join(root, shard), job)
    if not 0 <= row < reader.num_record_batches:
        raise IndexError(f"row {row} of shard {shard}, which has {reader.num_record_batches}")
    with lock:
        return reader.get_batch(row)


def cells(batch: Any, column: str) -> tuple[memoryview, ...]:
    """Return the binary cells of a list column of a one-row batch; they are not copied."""
    return tuple(memoryview(cell.as_buffer()) for cell in batch.column(column)[0].values)


class _Readers:
    """The shards a process has open, the least recently used closed first. Safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[Any, threading.Lock]] = OrderedDict()

    def get(self, uri: str, job: str = PREPARE) -> tuple[Any, threading.Lock]:
        """Return the open reader of a shard and the lock that serialises its use."""
        with self._lock:
            if uri not in self._open:
                self._open[uri] = (_open_reader(uri, job), threading.Lock())
            self._open.move_to_end(uri)
            while len(self._open) > self._limit:
                # Not closed here: another thread may be reading. The last reference closes it.
                self._open.popitem(last=False)
            return self._open[uri]


def _open_reader(uri: str, job: str) -> Any:
    filesystem, path = storage.resolve(uri)
    try:
        source = pa.memory_map(path) if storage.is_local(uri) else filesystem.open_input_file(path)
        return pa.ipc.open_file(source)
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            problem(
                f"A shard cannot be read ({error})",
                got=uri,
                allowed=f"an Arrow IPC file that {job} wrote",
                fix=f"run {job} again on this data set; it replaces absent shards",
            )
        ) from error


_READERS = _Readers(OPEN_SHARDS)
