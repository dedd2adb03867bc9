"""How videos become clips: sampling, geometry, augmentation, test views."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import UserError, problem


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Which frames of a video form a clip and how large they are."""

    frames: int = 32
    """T, frames of a clip; must equal the model's."""

    stride: int = 1
    """Distance between sampled frames (dense sampling only)."""

    sampling: Literal["dense", "uniform"] = "dense"
    """dense: T frames `stride` apart from a random (test: centred) start. uniform: one frame of each of T segments."""

    size: int = 224
    """Side of the square crop, pixels."""

    short_side: int = 256
    """Short side to which test frames are resized before the crop, pixels."""

    repeat_one_frame: bool = False
    """Control experiment: replace all T frames by the one in the middle of the clip, so that motion is gone."""

    def __post_init__(self) -> None:
        if min(self.frames, self.stride, self.size, self.short_side) < 1 or self.short_side < self.size:
            raise UserError(
                problem(
                    "The clip config is impossible",
                    got=self,
                    allowed="positive numbers, short_side >= size",
                    fix="set clip.size and clip.short_side",
                )
            )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Clip-consistent training augmentation: one random decision a clip, the same for all its frames."""

    crop: Literal["random_resized", "multiscale_corner", "center"] = "random_resized"
    """random_resized: area and ratio drawn at random. multiscale_corner: TSN's 13 offsets. center: none."""

    area: tuple[float, float] = (0.25, 1.0)
    """Range of the crop's share of the frame's area (random_resized)."""

    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Range of the crop's width/height (random_resized)."""

    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Shares of the short side that a crop's side may have (multiscale_corner)."""

    flip: float = 0.5
    """Probability of a horizontal flip; labels of direction classes are swapped with it, by their text."""

    brightness: float = 0.125
    """Largest additive change, as a share of 255."""

    contrast: float = 0.4
    """Largest relative change of contrast."""

    saturation: float = 0.4
    """Largest relative change of saturation."""

    hue: float = 0.1
    """Largest rotation of hue, in turns."""

    def __post_init__(self) -> None:
        ordered = 0 < self.area[0] <= self.area[1] <= 1 and 0 < self.ratio[0] <= self.ratio[1] < math.inf
        scales = (*self.scales, 0.0)
        descending = len(scales) > 1 and scales[0] <= 1 and all(a > b for a, b in itertools.pairwise(scales))
        jitter = (self.brightness, self.contrast, self.saturation, self.hue)
        positive = all(0 <= size < math.inf for size in jitter)
        if not (0 <= self.flip <= 1 and ordered and descending and positive):
            raise UserError(
                problem(
                    "The augmentation is impossible",
                    got=self,
                    allowed="flip 0 to 1; area and ratio positive, the smaller first, area up to 1; scales from the "
                    "largest, up to 1, down to the smallest, above 0; brightness, contrast, saturation, hue 0 or more",
                    fix="set augment.flip, augment.area and so on",
                )
            )


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Test views of one video: clips in time times crops in space; class scores are averaged over them."""

    clips: int = 1
    """1 is the papers' "32", 2 is S1's "32x2" (mean of two clips' softmax scores)."""

    crops: Literal[1, 3, 10] = 1
    """1 centre; 3 along the long side; 10 four corners and centre, mirrored too."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which prepared data set a run reads."""

    root: str = ""
    """Prepared data set, a path or URI (s3://, gs://) that every node can read."""

    train_split: str = "train"
    """Split that is trained on."""

    test_split: str = "validation"
    """Split that is evaluated."""

    fold: int = 1
    """Official fold, from 1; UCF-101 and HMDB-51 have three."""

    flip_pairs: Literal["from_labels", "none"] = "from_labels"
    """from_labels: classes whose text names left/right are swapped on a flip. none: labels never change."""
