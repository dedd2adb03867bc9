"""Pictures of real files that decoders get wrong: the frame shown as number i is number i of the file."""

import asyncio
import csv
import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.annotate.frames import Pictures
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video

CASES = Path(__file__).parents[2].parent / "shared" / "clips" / "decoder_cases"
FILES = ("unordered.mov", "h265_video.mp4", "gulpio_test.webm")
"""B-frames and edit lists; H.265, where decord's seeks miss; VP9."""


@pytest.mark.parametrize("name", FILES)
def test_picture_i_is_frame_i_of_the_file(name, tmp_path):
    if not CASES.is_dir():
        pytest.skip(f"the real clips are not at {CASES}")
    source = tmp_path / "videos"
    source.mkdir()
    shutil.copy(CASES / name, source / name)
    (source / "classes.txt").write_text("a class\nanother\n")
    with (source / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "split"], [name, "a class", "train"]])
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
        assert np.abs(shown_HWC - decode_frames(encoded, [index])[0]).max() <= 2
        near = range(max(0, index - 3), min(video.frames, index + 4))
        errors = {other: np.abs(shown_HWC - file_VHWC[other]).mean() for other in near}
        assert errors[index] <= min(errors.values()) + 1e-9
    pictures.close()
