"""A small prepared data set, and settings that make its flow quickly."""

import shutil

import cv2
import numpy as np
import pytest

from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.synth.encode import write_video
from pipeline.flow.config import FlowConfig
from pipeline.flow.tvl1 import TvL1Config

QUICK = TvL1Config(scales=2, warps=1, inner_iterations=5, outer_iterations=1)
LENGTHS = (6, 4, 7, 2, 5, 9, 3)
"""Frames of the videos; the shards hold three, three and one of them."""


def drifting(frames, seed, height=48, width=64):
    """RGB frames of a smooth texture that moves 2 pixels to the right and 1 down a frame."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height + frames, width + 2 * frames, 3))
    texture_HWC = cv2.GaussianBlur(noise, (0, 0), 2)
    texture_HWC = (128 + 5 * (texture_HWC - texture_HWC.mean())).clip(0, 255).astype(np.uint8)
    starts = [(frames - t, 2 * (frames - t)) for t in range(frames)]
    return [np.ascontiguousarray(texture_HWC[y : y + height, x : x + width]) for y, x in starts]


def make_prepared(folder, lengths=LENGTHS, shard_videos=3):
    """Write the videos that are not there, prepare them all, and return the root of the prepared data set."""
    for number, frames in enumerate(lengths):
        path = folder / "videos" / f"class{number % 2}" / f"v{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_video(path, drifting(frames, number), fps=12)
    config = PrepareConfig(ingest=IngestConfig(compare=False), shard_videos=shard_videos)
    prepare(load_listing("folder", str(folder / "videos")), str(folder / "root"), config, in_process)
    return folder / "root"


@pytest.fixture(scope="session", name="make_prepared")
def make_prepared_fixture():
    return make_prepared


@pytest.fixture(scope="session")
def prepared_root(tmp_path_factory):
    """Seven videos in three shards; not to be changed."""
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def own_root(prepared_root, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(prepared_root, tmp_path / "frames")


@pytest.fixture
def prepared(prepared_root):
    return PreparedDataset.open(str(prepared_root))


@pytest.fixture(scope="session")
def quick():
    return FlowConfig(tvl1=QUICK)
