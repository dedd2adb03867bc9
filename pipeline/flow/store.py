"""Flow shards: Arrow IPC files that hold the flow of some videos as 8-bit pictures, one record batch a video.

They are cut as the frame shards are, so that a video's frames and its flow lie alike. Pair i leads from frame i to
frame i + 1: n frames have n - 1 pairs. (Where dense_flow numbers files, img_i is the second frame of pair i.)
Legend: N pair of frames, M pair of the stack.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.errors import UserError, problem
from pipeline.data.store.shards import cells, read_batch
from pipeline.flow.config import FlowCodec

JOB = "jobs/extract_flow.py"
_PLANE = pa.list_(pa.field("item", pa.large_binary(), nullable=False))
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("pairs", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("flow_x", _PLANE, nullable=False),
        pa.field("flow_y", _PLANE, nullable=False),
    ]
)
"""No label: whoever reads flow knows the video's from the frames. A shard's metadata say how its flow was made."""


@dataclass(frozen=True)
class EncodedFlow:
    """The flow of a video as it lies in a shard: both components of every pair as 8-bit grey pictures."""

    id: str
    height: int
    width: int
    x_N: tuple[memoryview, ...]
    """Motion to the right."""
    y_N: tuple[memoryview, ...]
    """Motion downwards."""

    @property
    def pairs(self) -> int:
        """Pairs of frames."""
        return len(self.x_N)


def encode_plane(plane_HW: npt.NDArray[np.uint8], codec: FlowCodec) -> bytes:
    """Return one component of one pair as a grey JPEG or PNG."""
    jpeg = codec.format == "jpeg"
    options = [cv2.IMWRITE_JPEG_QUALITY, codec.quality] if jpeg else []
    done, data = cv2.imencode(".jpg" if jpeg else ".png", plane_HW, options)
    assert done, "OpenCV encodes every uint8 plane"
    encoded: bytes = data.tobytes()
    return encoded


def decode_plane(data: bytes | memoryview) -> npt.NDArray[np.uint8] | None:
    """Return the plane behind a grey picture; None when the bytes are none."""
    plane_HW = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if len(data) else None
    return None if plane_HW is None else np.asarray(plane_HW, np.uint8)


def decode_stack(flow: EncodedFlow, first: int, count: int) -> npt.NDArray[np.uint8]:
    """Decode consecutive pairs, their components interleaved as the two-stream networks read them.

    Args:
        flow: of one video.
        first: pair that the stack begins with, which is also the frame it begins at.
        count: M, pairs of the stack. Where the video has no more, the last pair is repeated; so a stack may begin at
            the last frame, at which no pair begins.

    Returns:
        x_HWM2, uint8 levels (`quantise.decode` gives pixels): channels x_first, y_first, x_first+1, y_first+1, ...

    Raises:
        IndexError: a first pair before the video or more than one after its last.
        UserError: a stored plane that is no picture any more; the shard is damaged.
    """
    if not 0 <= first <= flow.pairs or count < 1:
        raise IndexError(f"a stack of {count} from {first} on, of video {flow.id}, which has {flow.pairs} pairs")
    x_HWM2 = np.empty((flow.height, flow.width, 2 * count), np.uint8)
    for m in range(count):
        pair = min(first + m, flow.pairs - 1)
        if m and pair == min(first + m - 1, flow.pairs - 1):
            x_HWM2[..., 2 * m : 2 * m + 2] = x_HWM2[..., 2 * m - 2 : 2 * m]
            continue
        x_HWM2[..., 2 * m] = _plane(flow, "x", pair)
        x_HWM2[..., 2 * m + 1] = _plane(flow, "y", pair)
    return x_HWM2


def _plane(flow: EncodedFlow, axis: str, pair: int) -> npt.NDArray[np.uint8]:
    plane_HW = decode_plane((flow.x_N if axis == "x" else flow.y_N)[pair])
    if plane_HW is None or plane_HW.shape != (flow.height, flow.width):
        raise UserError(
            problem(
                f"flow_{axis} of pair {pair} of video {flow.id} cannot be decoded from its shard",
                got="damaged bytes" if plane_HW is None else f"a plane of shape {plane_HW.shape}",
                allowed=f"a grey picture of {flow.height} x {flow.width}",
                fix=f"run {JOB} with --verify; it rewrites damaged shards",
            )
        )
    return plane_HW


def write_shard(file: IO[bytes], flows: Iterable[EncodedFlow], facts: str) -> int:
    """Write `flows` to an open binary file, one record batch each in the order given; returns how many.

    Args:
        file: to write to.
        flows: one a video.
        facts: JSON of how the flow was made (bound, algorithm, codec, backend); kept in the schema's metadata.
    """
    count, schema = 0, SCHEMA.with_metadata({"flow": facts})
    with pa.ipc.new_file(file, schema) as writer:
        for flow in flows:
            columns: list[list[Any]] = [[flow.id], [flow.pairs], [flow.height], [flow.width]]
            columns += [[list(flow.x_N)], [list(flow.y_N)]]
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += 1
    return count


def read_flow(root: str, shard: str, row: int) -> EncodedFlow:
    """Read the flow of one video; it stays compressed and, on a local disk, is not even copied.

    Args:
        root: the flow set, a path or URI.
        shard: path of the shard below `root`.
        row: record batch of the shard.

    Raises:
        UserError: the shard is not there or cannot be read.
        IndexError: `row` is outside the shard.
    """
    batch = read_batch(root, shard, row, JOB)
    value = {name: batch.column(name)[0].as_py() for name in ("id", "height", "width")}
    return EncodedFlow(**value, x_N=cells(batch, "flow_x"), y_N=cells(batch, "flow_y"))
