"""Loads what a test sees of videos, frames and flow together, as rows without labels. Nothing here imports torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pipeline.data.feed.microbatch import naming
from pipeline.data.store.shards import read_video
from pipeline.flow.store import read_flow
from pipeline.two_stream.samples import Sight, picture
from pipeline.two_stream.views import Picture, Place, Viewing, look, spaced

PICTURES = ("spatial_whole", "spatial_resized", "temporal_whole", "temporal_resized")
_SHAPE = pa.list_(pa.int64())
PLACE_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("at", pa.int64()),
        *(pa.field(name, pa.large_binary()) for name in PICTURES),
        *(pa.field(f"{name}_shape", _SHAPE) for name in PICTURES),
    ]
)
"""What an actor gets of one place: pictures, and the id to give back. There is no column that could hold a label."""


@dataclass(frozen=True)
class Seen:
    """What both streams see at one place."""

    spatial: Picture
    temporal: Picture


@dataclass(frozen=True)
class Entry:
    """One video to look at: where its pictures lie. It knows no label."""

    id: str
    frames: int
    shard: str
    """Of the frames."""
    row: int
    flow_shard: str
    flow_row: int


@dataclass(frozen=True, kw_only=True)
class Eye:
    """Loads what a test sees of videos; the same in this process and in a Ray task."""

    roots: tuple[str, str]
    """Of frames and of flow."""
    sights: tuple[Sight, Sight]
    """Of the spatial and of the temporal stream."""
    viewing: Viewing

    def places(self, frames: int) -> tuple[Place, ...]:
        """Return the places of a video of so many frames."""
        return spaced(frames - 1, self.sights[0].flow_stack, self.viewing.places)

    def see(self, entry: Entry) -> Iterator[tuple[int, Seen]]:
        """Yield every place of a video and what the streams see there.

        Raises:
            UserError: a picture cannot be read or decoded; names the video.
        """
        # Tasks have the CPUs that they asked for; OpenCV would start a thread for each core of the machine.
        cv2.setNumThreads(1)
        with naming(entry.id, entry.shard, entry.row, self.roots[0]):
            video = read_video(self.roots[0], entry.shard, entry.row)
        with naming(entry.id, entry.flow_shard, entry.flow_row, self.roots[1]):
            flow = read_flow(self.roots[1], entry.flow_shard, entry.flow_row)
        if {video.id, flow.id} != {entry.id}:
            raise RuntimeError(f"the shards hold frames of {video.id} and flow of {flow.id} where {entry.id} should be")
        spatial, temporal = self.sights
        for place in self.places(entry.frames):
            with naming(entry.id, entry.shard, entry.row, self.roots[0]):
                frame = look(picture(video, place.at, spatial), spatial, self.viewing.short_side)
            with naming(entry.id, entry.flow_shard, entry.flow_row, self.roots[1]):
                stack = look(picture(flow, place.at, temporal), temporal, self.viewing.short_side)
            yield place.at, Seen(frame, stack)


def load(entries: Sequence[Entry], eye: Eye, at_once: int) -> Iterator[pa.Table]:
    """Yield tables of PLACE_SCHEMA with at most `at_once` places each."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        for at, seen in eye.see(entry):
            frame, stack = seen.spatial, seen.temporal
            pictures = (frame.whole_HWC, frame.resized_HWC, stack.whole_HWC, stack.resized_HWC)
            row: dict[str, Any] = {"id": entry.id, "at": at}
            for name, x_HWC in zip(PICTURES, pictures, strict=True):
                row |= {name: x_HWC.tobytes(), f"{name}_shape": list(x_HWC.shape)}
            rows.append(row)
            if len(rows) == at_once:
                yield pa.Table.from_pylist(rows, PLACE_SCHEMA)
                rows = []
    if rows:
        yield pa.Table.from_pylist(rows, PLACE_SCHEMA)


def seen_in(places: pa.Table) -> list[Seen]:
    """Return the pictures of a table of PLACE_SCHEMA, without copying them."""
    columns = [
        [
            np.frombuffer(x.as_buffer(), np.uint8).reshape(shape.as_py())
            for x, shape in zip(places[name], places[f"{name}_shape"], strict=True)
        ]
        for name in PICTURES
    ]
    return [
        Seen(Picture(whole, frame), Picture(flow, stack)) for whole, frame, flow, stack in zip(*columns, strict=True)
    ]
