"""Flow as the tree of pictures that TSN and mmaction2 read: ROOT/CLASS/VIDEO/{img,flow_x,flow_y}_00001.jpg.

Numbers begin at 1 and n frames have n - 1 pairs. Two tools number otherwise: dense_flow's img_i is the SECOND frame of
pair i (so it has n - 1 images), and denseflow numbers from 0, which mmaction2 does not read.
"""

import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.flow.catalog import BAD_PICTURE, MISSING, WRONG_COUNT, FlowError
from pipeline.flow.config import FlowCodec
from pipeline.flow.dataset import FlowDataset
from pipeline.flow.store import EncodedFlow, decode_plane, encode_plane

ImageNumber = Literal["first", "second"]
"""Which frame of pair i img_i is; dense_flow's is the second."""
_PICTURE = re.compile(r"flow_([xy])_(\d+)\.jpg")


@dataclass(frozen=True)
class Tree:
    """A tree to import from."""

    root: str
    """Path or URI; the folder of a video is its id below it, which is CLASS/VIDEO for UCF-101 and HMDB-51."""
    first: Literal[0, 1] = 1
    """Number of the first pair; 0 in what denseflow wrote."""


def read_tree(tree: Tree, video: PreparedVideo) -> EncodedFlow | FlowError:
    """Return the flow of one video out of a tree, its bytes as they are, or why it cannot be taken.

    Images are not looked at: frames come from the prepared data set.

    Args:
        tree: where it lies.
        video: as prepared; its n frames demand n - 1 pairs.
    """
    try:
        return _read(tree, video)
    except FlowError as error:
        return error


def _read(tree: Tree, video: PreparedVideo) -> EncodedFlow:
    folder = storage.join(tree.root, *_parts(video.id))
    names = [entry.base_name for entry in storage.list_files(folder)]
    found = [match for name in names if (match := _PICTURE.fullmatch(name))]
    if not found:
        raise FlowError(MISSING, f"no flow_x_*.jpg and flow_y_*.jpg in {'/'.join(_parts(video.id))}")
    pairs, planes = video.frames - 1, []
    size: tuple[int, ...] = ()
    for axis in "xy":
        by_number = {int(match[2]): match[0] for match in found if match[1] == axis}
        if sorted(by_number) != list(range(tree.first, tree.first + pairs)):
            have = f"{len(by_number)} files from {min(by_number, default='none')} to {max(by_number, default='none')}"
            wanted = f"{pairs} from {tree.first} to {tree.first + pairs - 1}, for {video.frames} frames"
            raise FlowError(WRONG_COUNT, f"flow_{axis}: {have}, wanted {wanted}")
        for number in sorted(by_number):
            data = storage.read_bytes(storage.join(folder, by_number[number]))
            plane_HW = decode_plane(data)
            if plane_HW is None or (size and plane_HW.shape != size):
                what = "no picture" if plane_HW is None else f"{plane_HW.shape}, the others {size}"
                raise FlowError(BAD_PICTURE, f"{by_number[number]}: {what}")
            size = plane_HW.shape
            planes.append(memoryview(data))
    return EncodedFlow(video.id, size[0], size[1], tuple(planes[:pairs]), tuple(planes[pairs:]))


def _parts(video_id: str) -> tuple[str, ...]:
    """Return an id as the parts of a path that stays below its root.

    Raises:
        UserError: an id that would leave it.
    """
    parts = PurePosixPath(video_id).parts
    if not parts or parts[0] == "/" or ".." in parts:
        fix = "give the video another id in its listing"
        raise UserError(problem("An id is no place in a tree", got=video_id, allowed="a relative path", fix=fix))
    return parts


def export(
    prepared: PreparedDataset,
    flow: FlowDataset,
    folder: str,
    *,
    image: ImageNumber = "first",
    threads: int = 8,
    tell: Callable[[int], None] = lambda pairs: None,
) -> int:
    """Write every video that has flow as a folder of pictures; returns how many were written.

    Pictures are the stored bytes, unchanged; planes stored as PNG become JPEG of quality 95, since readers of this
    tree look for .jpg. A video's folder appears whole or not at all, and one that is there stays: run it again after
    a kill and it does what is left.

    Args:
        prepared: the frames.
        flow: their flow.
        folder: a local folder; it is made.
        image: "first": img_i is frame i, n images. "second": dense_flow's, img_i is frame i + 1, n - 1 images.
        threads: videos written at once.
        tell: called after every video with the pairs done so far.

    Raises:
        UserError: flow of other frames, or a folder that is not local.
    """
    flow.check_belongs(prepared)
    if not storage.is_local(folder):
        fix = "export to a local folder and copy it from there"
        raise UserError(problem("A tree of pictures is local", got=folder, allowed="a local folder", fix=fix))
    root = Path(storage.local_path(folder))
    frames = {row.id: row for row in prepared.rows}
    done = written = 0

    def one(video_id: str) -> tuple[int, bool]:
        row = frames[video_id]
        place = PreparedVideo(row.id, row.label, row.frames, row.shard, row.row)
        return place.frames - 1, _export_video(prepared.root, place, flow, root, image)

    with ThreadPoolExecutor(threads) as pool:
        for pairs, new in pool.map(one, flow.videos):
            done, written = done + pairs, written + new
            tell(done)
    return written


def _export_video(frames_root: str, place: PreparedVideo, flow: FlowDataset, root: Path, image: ImageNumber) -> bool:
    target = root.joinpath(*_parts(place.id))
    encoded = flow.read(place.id)
    jpeg_V = read_video(frames_root, place.shard, place.row).jpeg_V
    columns = {"img": jpeg_V if image == "first" else jpeg_V[1:], "flow_x": encoded.x_N, "flow_y": encoded.y_N}
    files = {
        f"{prefix}_{number:05d}.jpg": _as_jpeg(data)
        for prefix, pictures in columns.items()
        for number, data in enumerate(pictures, start=1)
    }
    if target.is_dir():
        _refuse_another(target, files)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f"{storage.TEMPORARY}{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        for name, data in files.items():
            (temporary / name).write_bytes(data)
        os.replace(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _refuse_another(target: Path, files: Mapping[str, bytes | memoryview]) -> None:
    """Keep an export from passing off what was there as its own; sizes of compressed pictures tell them apart."""
    held = {entry.name: entry.stat().st_size for entry in os.scandir(target)}
    if held != {name: len(data) for name, data in files.items()}:
        raise UserError(
            problem(
                "A video's folder is there and holds other pictures than would be written",
                got=str(target),
                allowed="no folder, or what an earlier export of the same flow and frames wrote",
                fix="export to another folder, or remove this one",
            )
        )


def _as_jpeg(data: memoryview) -> bytes | memoryview:
    """Return a picture as JPEG; one that is JPEG already as it is."""
    if bytes(data[:2]) == b"\xff\xd8":
        return data
    plane_HW = decode_plane(data)
    assert plane_HW is not None, "read and written by us"
    return encode_plane(plane_HW, FlowCodec())
