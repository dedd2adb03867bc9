"""One stream's loader by itself; its batches are tested with the feed."""

import subprocess
import sys

import pytest

from pipeline.core.errors import UserError
from pipeline.data.feed.microbatch import MicroPlan
from pipeline.two_stream.loader import StreamLoader
from pipeline.two_stream.maps import MapDataset
from pipeline.two_stream.samples import Sight


def test_tasks_that_decode_need_no_torch():
    code = "import sys, pipeline.two_stream.loader; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_planned_place_without_a_map_is_refused(paired, maps_of):
    """Maps lie at every second place; the next one's must not stand in for that of place 1."""
    maps = MapDataset.open(maps_of.places.folder("r1-temporal-maps"))
    video = paired.videos("spatial", "train", 1)[0]
    loader = StreamLoader(
        root=paired.prepared.root,
        sight=Sight(stream="spatial", flow_stack=3, segments=1, size=75),
        labels={video.id: video.label},
        pairs={video.id: video.frames - 1},
        crop="whole",
        time="planned",
        maps_root=maps.root,
        maps_passport=maps.passport,
        maps_shape=maps.shape,
    )
    plans = [MicroPlan(0, 0, 0, 1, (video.id,), (video.shard,), (video.row,), (place,)) for place in (0, 1)]
    assert loader.load(plans[0]).arrays["map_BGhw"].shape == (1, 1, *maps.shape)
    with pytest.raises(UserError, match=r"none of all of \[1\]"):
        loader.load(plans[1])
