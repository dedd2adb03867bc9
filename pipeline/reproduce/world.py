"""Where a table is filled: on the papers' data with the papers' networks, or on the synth bench with small ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class World:
    """What stands for the papers' data sets, networks and ways to test."""

    name: Literal["papers", "synth"]
    label: str
    """Printed above every table."""
    one_clip: str
    """Protocol that stands for "32"."""
    two_clips: str
    """Protocol that stands for "32x2" and "32+32"."""
    places: str
    """Frames and stacks of a video in a test of two streams."""
    recipes: Mapping[str, str]
    """Name of the recipe by the slot that it fills."""
    first: tuple[str, ...]
    """Lanes in the order in which they are begun, the longest first, so that none is left to run alone."""
    made: Mapping[str, tuple[str, ...]]
    """Arguments of make_synth by data set; empty where people bring the data."""
    short_side: str
    """Of prepared frames, pixels; empty leaves it to prepare_data."""
    flow: tuple[str, ...]
    """Arguments of extract_flow."""
    corrected: str
    """Slot of the network that people correct."""
    mined: tuple[str, ...]
    """Arguments of mine_misclassified: which classes people are asked about."""
    taught: tuple[str, ...]
    """Fields that the fine-tuning changes."""

    @property
    def is_synth(self) -> bool:
        """True for the synth bench."""
        return self.name == "synth"


DATA = MappingProxyType(
    {
        "ssv2": "Something-Something V2",
        "ssv1": "Something-Something V1",
        "ucf101": "UCF-101",
        "hmdb51": "HMDB-51",
    }
)
PAPERS = World(
    name="papers",
    label="the papers' data sets and networks",
    one_clip="32",
    two_clips="32x2",
    places="25",
    recipes=MappingProxyType(
        {
            "s0-baseline-r50": "baseline_r50_ssv2",
            "s0-stabn-r50": "stabn_r50_ssv2",
            "s0-baseline-r101": "baseline_r101_ssv2",
            "s0-stabn-r101": "stabn_r101_ssv2",
            "s1-v1-baseline": "baseline_r50_ssv1",
            "s1-v1-stabn": "stabn_r50_ssv1",
            "s1-v2-baseline": "baseline_r50_ssv2_uniform",
            "s1-v2-stabn": "stabn_r50_ssv2_uniform",
            "ucf101-two-stream": "plain_two_stream_ucf101",
            "ucf101-tsn": "tsn_ucf101",
            "ucf101-cross": "two_stream_ucf101",
            "hmdb51-two-stream": "plain_two_stream_hmdb51",
            "hmdb51-tsn": "tsn_hmdb51",
            "hmdb51-cross": "two_stream_hmdb51",
            "hmdb51-alternating": "two_stream_alternating_hmdb51",
        }
    ),
    first=(),
    made=MappingProxyType({}),
    short_side="",
    flow=("--size", "340x256", "--preset", "cuda"),
    corrected="s0-stabn-r50",
    mined=(),
    taught=(),
)
