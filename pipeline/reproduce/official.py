"""The official data sets: their files, where those belong, how many videos they have, what they take prepared."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.data.listing import hmdb51, ssv1, ssv2, ucf101


@dataclass(frozen=True, kw_only=True)
class Official:
    """An official data set."""

    metadata: tuple[str, ...]
    """Its official files."""
    beside: str
    """Folder below the videos' root where those may lie too."""
    videos: str
    """Folder of the videos, and what they are."""
    splits: str
    """Counts, in words."""
    trained: int
    """Videos of the training split; of two-stream data sets in fold 1."""
    tested: int
    """Videos of the split that tables are about: validation, or the test of fold 1."""
    named: tuple[str, str]
    """Both splits as a manifest counts them."""
    frames_gb: float
    """Prepared frames, gigabytes."""
    frames_told: str = ""
    """What has to be known of that size."""
    pairs: float = 0.0
    """Pairs of neighbouring frames that flow is computed of."""
    flow_gb: float = 0.0


OFFICIAL: Mapping[str, Official] = {
    "ssv2": Official(
        metadata=tuple(f"{ssv2.PREFIX}{part}.json" for part in ("labels", "train", "validation", "test")),
        beside=ssv2.METADATA_FOLDERS[0],
        videos=f"{ssv2.VIDEO_FOLDERS[0]}/ID.webm",
        splits="220,847 videos: train 168,913, validation 24,777, test 27,157 without labels",
        trained=168_913,
        tested=24_777,
        named=("train", "validation"),
        frames_gb=290,
    ),
    "ssv1": Official(
        metadata=tuple(f"{ssv1.PREFIX}{part}.csv" for part in ("labels", "train", "validation", "test")),
        beside=ssv1.METADATA_FOLDERS[0],
        videos=f"{ssv1.FRAME_FOLDERS[0]}/ID/00001.jpg and on",
        splits="train 86,017, validation 11,522, and the test part without labels",
        trained=86_017,
        tested=11_522,
        named=("train", "validation"),
        frames_gb=34,
        frames_told="reckoned, not measured: the labelled videos, with 45.7 frames each as in V2, 7.6 kB a frame",
    ),
    "ucf101": Official(
        metadata=("classInd.txt", *(f"{part}list{fold:02d}.txt" for part in ("train", "test") for fold in (1, 2, 3))),
        beside=ucf101.METADATA_FOLDERS[0],
        videos=f"{ucf101.VIDEO_FOLDERS[0]}/Class/v_Class_g01_c01.avi",
        splits="13,320 videos: train 9,537, test 3,783 in fold 1 (2: 9,586, 3,734; 3: 9,624, 3,696)",
        trained=9_537,
        tested=3_783,
        named=("train/1", "test/1"),
        frames_gb=67,
        pairs=2.5e6,
        flow_gb=17,
    ),
    "hmdb51": Official(
        metadata=("CLASS_test_split1.txt, 2 and 3 for each of 51 classes",),
        beside=hmdb51.METADATA_FOLDERS[0],
        videos=f"{hmdb51.VIDEO_FOLDERS[0]}/class/NAME.avi",
        splits="6,766 videos: train 3,570, test 1,530, unused 1,666 in every fold",
        trained=3_570,
        tested=1_530,
        named=("train/1", "test/1"),
        frames_gb=17,
        pairs=0.63e6,
        flow_gb=4,
    ),
}
"""Sizes: 10.1 million frames of V2, 2.5 million of UCF-101, .63 million of HMDB-51; 27 kB each, 7 kB a pair of flow
(docs/decisions/0003 and 0013). V1 is published 100 pixels high: a clip of V2 reduced to that takes 7.6 kB a frame.
"""
