"""Micro-batches of one stream: plans in, arrays out, in this process or in a Ray task. Nothing here imports torch.

What a batch's maps are depends on who reads it: in the training of a stream they are the other stream's, in that of an
attention net its own stream's. Shape letters: B video, G segment, H and W of a picture, C channel, h and w of a map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.config import AugmentConfig
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.flip import FlipMap
from pipeline.data.feed.microbatch import MicroBatch, MicroPlan, naming
from pipeline.data.store.shards import read_video
from pipeline.flow.store import read_flow
from pipeline.two_stream.maps import VideoMaps, opened
from pipeline.two_stream.samples import (
    WHOLE_FRAME,
    Encoded,
    Region,
    Sample,
    Sight,
    centre_region,
    centre_sample,
    draw_places,
    middle_places,
    places,
    training_sample,
    whole_sample,
)


@dataclass(frozen=True, kw_only=True)
class StreamLoader:
    """Loads one stream's samples; holds everything besides the plan that they depend on."""

    root: str
    """The prepared data set of a spatial stream, the flow set of a temporal one."""
    sight: Sight
    labels: Mapping[str, int]
    """Class of each video."""
    pairs: Mapping[str, int]
    """Flows of each video."""
    crop: Literal["augment", "centre", "whole"]
    """whole: the frame as maps cover it, its sides resized to the network's."""
    time: Literal["drawn", "middle", "planned"]
    """Where a sample's segments begin: drawn by (seed, epoch, id), in the middle of each, or where the plan's `views`
    say."""
    seed: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    flip_map: FlipMap = ()
    short_side: int = 0
    """To which test images are resized before the centre crop."""
    maps_root: str = ""
    """Maps that go with the samples; places without a map are not drawn then. Empty: none."""
    maps_passport: str = ""
    maps_shape: tuple[int, int] = (0, 0)

    def load(self, plan: MicroPlan) -> MicroBatch:
        """Read and decode every entry of `plan`: x_BGHWC, box_BG4, index_BG, label_B, and map_BGhw if there are maps.

        Raises:
            UserError: an entry failed; the message names the video, its shard and the cause.
        """
        # Tasks have the CPUs that they asked for; OpenCV would start a thread for each core of the machine.
        cv2.setNumThreads(1)
        size, segments, count = self.sight.size, self._segments, len(plan.ids)
        arrays: dict[str, npt.NDArray[Any]] = {
            "x_BGHWC": np.empty((count, segments, size, size, self.sight.channels), np.uint8),
            "box_BG4": np.empty((count, segments, 4), np.float32),
            "index_BG": np.empty((count, segments), np.int32),
            "label_B": np.empty(count, np.int64),
        }
        if self.maps_root:
            arrays["map_BGhw"] = np.empty((count, segments, *self.maps_shape), np.float16)
        entries = zip(plan.ids, plan.shards, plan.rows, plan.views, strict=True)
        b = 0
        for (video_id, shard, row), same in groupby(entries, key=lambda entry: entry[:3]):
            with naming(video_id, shard, row, self.root):
                encoded = _read(self.root, self.sight, video_id, shard, row)
                maps = opened(self.maps_root, self.maps_passport).of(video_id) if self.maps_root else None
                for *_, view in same:
                    _put(arrays, b, self._sample(encoded, maps, plan.epoch, view), maps)
                    b += 1
        return MicroBatch.of(plan, arrays)

    def bytes_of(self, plan: MicroPlan) -> int:
        """Size of the arrays of a planned micro-batch."""
        return len(plan.ids) * self.sample_bytes

    @property
    def sample_bytes(self) -> int:
        """Size of the arrays of a sample."""
        pixels = self.sight.size**2 * self.sight.channels
        return self._segments * (pixels + 16 + 4 + 2 * self.maps_shape[0] * self.maps_shape[1]) + 8

    @property
    def _segments(self) -> int:
        return 1 if self.crop == "whole" else self.sight.segments

    def _sample(self, encoded: Encoded, maps: VideoMaps | None, epoch: int, view: int) -> Sample:
        every: Sequence[int] = range(places(self.pairs[encoded.id], self.sight.flow_stack))
        available, label = maps.places if maps else every, self.labels[encoded.id]
        if self.crop == "augment":
            return training_sample(
                encoded,
                available,
                self.sight,
                self.augment,
                label=label,
                flip_map=self.flip_map,
                seed=self.seed,
                epoch=epoch,
            )
        index_G = self._places(encoded.id, available, epoch, view)
        region: Region = WHOLE_FRAME
        if self.crop == "whole":
            x_GHWC = whole_sample(encoded, index_G, self.sight)
        else:
            x_GHWC = centre_sample(encoded, index_G, self.sight, self.short_side)
            region = centre_region(encoded.height, encoded.width, self.sight.size, self.short_side)
        return Sample(x_GHWC, index_G, region, label)

    def _places(self, video_id: str, available: Sequence[int], epoch: int, view: int) -> npt.NDArray[np.int32]:
        if self.time == "drawn":
            return draw_places(available, self._segments, clip_generator(self.seed, epoch, video_id))
        return middle_places(available, self._segments) if self.time == "middle" else np.array([view], np.int32)


@dataclass(frozen=True, kw_only=True)
class BesideLoader:
    """Loads one stream's samples, and beside each the other stream's whole pictures at the same places."""

    loader: StreamLoader
    root: str
    """Where the other stream's pictures lie."""
    sight: Sight
    """What the other stream sees."""
    at: Mapping[str, tuple[str, int]]
    """Shard and row of each video there."""

    def load(self, plan: MicroPlan) -> MicroBatch:
        """Read what the stream's loader reads, and whole_BGHWC.

        Raises:
            UserError: an entry failed; the message names the video, its shard and the cause.
        """
        found = self.loader.load(plan)
        index_BG, size = found.arrays["index_BG"], self.sight.size
        whole_BGHWC = np.empty((*index_BG.shape, size, size, self.sight.channels), np.uint8)
        for b, video_id in enumerate(plan.ids):
            shard, row = self.at[video_id]
            with naming(video_id, shard, row, self.root):
                encoded = _read(self.root, self.sight, video_id, shard, row)
                whole_BGHWC[b] = whole_sample(encoded, index_BG[b], self.sight)
        return MicroBatch.of(plan, {**found.arrays, "whole_BGHWC": whole_BGHWC})

    def bytes_of(self, plan: MicroPlan) -> int:
        """Size of the arrays of a planned micro-batch."""
        return len(plan.ids) * self.sample_bytes

    @property
    def sample_bytes(self) -> int:
        """Size of the arrays of a sample."""
        return self.loader.sample_bytes + self.sight.segments * self.sight.size**2 * self.sight.channels


def _read(root: str, sight: Sight, video_id: str, shard: str, row: int) -> Encoded:
    """Return a video as a stream sees it, encoded."""
    spatial = sight.stream == "spatial"
    encoded: Encoded = read_video(root, shard, row) if spatial else read_flow(root, shard, row)
    if encoded.id != video_id:
        raise ValueError(f"the shard holds video {encoded.id} there")
    return encoded


def _put(arrays: Mapping[str, npt.NDArray[Any]], b: int, sample: Sample, maps: VideoMaps | None) -> None:
    arrays["x_BGHWC"][b], arrays["index_BG"][b] = sample.x_GHWC, sample.index_G
    arrays["box_BG4"][b], arrays["label_B"][b] = sample.region, sample.label
    if maps:
        position_G = np.searchsorted(maps.places, sample.index_G)
        if not np.array_equal(np.take(maps.places, position_G, mode="clip"), sample.index_G):
            raise ValueError(f"there are maps of places {maps.places}, and none of all of {sample.index_G.tolist()}")
        arrays["map_BGhw"][b] = maps.map_Phw[position_G]
