"""What every backend returns."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class TvL1Result(NamedTuple):
    """Flow of N pairs of frames."""

    flow_NHW2: npt.NDArray[np.float32]
    """Displacement to the right and downwards, pixels."""

    iterations_N: npt.NDArray[np.int64]
    """Iterations over all warps and levels; -1 where the backend does not tell (OpenCV)."""
