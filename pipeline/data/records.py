"""What the data layer passes around: a listed video, a prepared video, a clip, and their legends.

Shape letters, used as suffixes all over the project:
B batch, C channel, T frame of the clip, H height, W width, K class, V video frame.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

HIDDEN_LABEL = -1
"""Label of a video whose class is not published (Something-Something's test split)."""


@dataclass(frozen=True)
class VideoRecord:
    """One video as the official metadata lists it; nothing here needs the file to exist."""

    id: str
    """Unique within the data set; Something-Something's number, otherwise the path below the root without suffix."""
    path: str
    """Path below the listing's root: a video file, or a folder of numbered frames."""
    label: int
    """Class index into `Listing.classes`, or HIDDEN_LABEL."""
    split: tuple[str, ...]
    """Membership in each official fold, such as ("train",) or ("train", "test", "unused")."""


@dataclass(frozen=True)
class Listing:
    """A data set as its official files describe it."""

    name: str
    """ssv2, ssv1, ucf101, hmdb51, folder."""
    root: str
    """Folder or URI below which every `VideoRecord.path` lies."""
    classes: tuple[str, ...]
    """Class texts by class index."""
    records: tuple[VideoRecord, ...]
    """Every listed video once, in the order of the official files."""


@dataclass(frozen=True)
class PreparedVideo:
    """A readable video's place in the shards."""

    id: str
    label: int
    frames: int
    shard: str
    """Path of the shard below the prepared data set's root."""
    row: int
    """Record batch of the shard that holds this video."""


@dataclass(frozen=True)
class EncodedVideo:
    """A video as it lies in a shard: every frame, JPEG-compressed, RGB once decoded."""

    id: str
    label: int
    fps: float
    height: int
    width: int
    jpeg_V: tuple[memoryview, ...]


@dataclass(frozen=True)
class Clip:
    """What the network sees of one video, before normalisation."""

    id: str
    label: int
    x_THWC: npt.NDArray[np.uint8]
    """RGB frames."""
    idx_T: npt.NDArray[np.int32]
    """Video frame behind each clip frame; edited attention is gathered by it."""
    valid_T: npt.NDArray[np.bool_]
    """False where a short video was padded with its last frame."""
