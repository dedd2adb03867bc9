"""How near spatial attention is to where people pointed in held-out clips, and to where the object is known to be."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from pipeline.data.feed.place import Place
from pipeline.eval.metrics import Interval, bootstrap_mean
from pipeline.eval.place import Pointing
from pipeline.finetune.edits import Edit
from pipeline.finetune.spatial import seen_maps
from pipeline.finetune.windows import VideoAttention


@dataclass(frozen=True)
class Where:
    """Spatial attention of one network."""

    heldout_videos: int
    heldout: Interval
    """Mean over held-out videos of the mean squared difference over cells of frames in which people pointed."""
    truth: Pointing | None
    """Against known boxes in the test split, where they are known."""

    def sentences(self) -> list[str]:
        """Say what was measured."""
        m = self.heldout
        said = [
            f"mean squared difference of maps {m.value:.4f} (95 % {m.low:.4f} to {m.high:.4f}) over "
            f"{self.heldout_videos} held-out videos"
        ]
        return (said if self.heldout_videos else []) + ([self.truth.sentence()] if self.truth else [])

    def facts(self) -> dict[str, Any]:
        """Return the same as JSON values; numbers that do not exist are absent."""
        facts: dict[str, Any] = {"heldout_videos": self.heldout_videos}
        if self.heldout_videos:
            facts["heldout_mse"] = asdict(self.heldout)
        if self.truth is not None:
            facts["truth"] = asdict(self.truth) if self.truth.clips else {"clips": 0}
        return facts


def compare_maps(
    seen: Iterable[VideoAttention], edits: Mapping[str, Edit], places: Mapping[str, Place]
) -> tuple[int, Interval]:
    """Compare spatial attention with the maps of people, as the spatial term of the loss does.

    Args:
        seen: with spatial maps.
        edits: by video; one without maps is left out.
        places: what a test clip shows of each video.

    Returns:
        Videos compared, and the mean over them of the mean squared difference.
    """
    errors = []
    for one in seen:
        edit = edits[one.video]
        if edit.maps and one.spatial_Vhw is not None:
            frames = sorted(edit.maps)
            ours_Nhw = torch.from_numpy(one.spatial_Vhw[frames])
            theirs_Nhw = seen_maps(edit, frames, places[one.video], (ours_Nhw.shape[1], ours_Nhw.shape[2]))
            errors.append(float((ours_Nhw - theirs_Nhw).double().pow(2).mean()))
    return len(errors), bootstrap_mean(np.array(errors))
