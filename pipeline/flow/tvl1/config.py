"""What TV-L1 computes: the parameters of Zach, Pock and Bischof (DAGM 2007), and where OpenCV's two versions differ.

Names and defaults are those of OpenCV's `optflow::DualTVL1OpticalFlow`, which are the field's.
"""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pipeline.core.errors import UserError, problem

SMALLEST_SIDE = 16
"""Pixels; smaller frames, and smaller levels of the pyramid, carry no flow."""


@dataclass(frozen=True, kw_only=True)
class TvL1Config:
    """One run of TV-L1; frozen, so that it can stand in a data passport."""

    variant: Literal["opencv-cpu", "opencv-cuda"] = "opencv-cpu"
    """Which of OpenCV's two algorithms. opencv-cpu: cubic with A=-0.75, zero outside the image, resizing about pixel
    centres. opencv-cuda: cubic with A=-0.5 over its sum of weights, the border repeated, resizing about corners; the
    flow of the two-stream and TSN papers came from it."""

    tau: float = 0.25
    """Step of the dual ascent."""

    lambda_: float = 0.15
    """Weight of the data term; smaller is smoother."""

    theta: float = 0.3
    """Coupling of data and smoothness terms."""

    scales: int = 5
    """Levels of the pyramid, fewer where a level would have a side under 16 pixels."""

    warps: int = 5
    """Warps of the second frame at each level."""

    epsilon: float = 0.01
    """A warp stops when the mean squared change of the flow in an iteration is at most epsilon squared."""

    inner_iterations: int = 30
    """Iterations between two medians."""

    outer_iterations: int = 10
    """Medians in a warp; a warp has at most inner x outer iterations."""

    scale_step: float = 0.8
    """Size of a level relative to the finer one."""

    median: int = 5
    """Side of the median filter over the flow; 0 or 1 is none."""

    stop: Literal["every", "opencv-cuda", "fixed"] = "every"
    """When the change is compared with epsilon. every: after each iteration, as OpenCV's CPU code. opencv-cuda: on
    the sparse schedule of OpenCV's CUDA code. fixed: never; all inner x outer iterations run."""

    gamma: float = 0.0
    """Weight of an illumination term; not implemented, and refused."""

    use_initial_flow: bool = False
    """Start from a given flow; not implemented, and refused."""

    def __post_init__(self) -> None:
        if self.gamma != 0 or self.use_initial_flow:
            raise UserError(
                problem(
                    "TV-L1 with an illumination term or an initial flow is not implemented",
                    got=f"gamma={self.gamma}, use_initial_flow={self.use_initial_flow}",
                    allowed="gamma=0 and use_initial_flow=False",
                    fix="leave both at their defaults; published two-stream flow did",
                )
            )
        positive = min(self.tau, self.lambda_, self.theta) > 0 and self.epsilon >= 0
        counted = min(self.scales, self.warps, self.inner_iterations, self.outer_iterations) >= 1
        if not (positive and counted and 0 < self.scale_step < 1 and self.median in (0, 1, 3, 5)):
            raise UserError(
                problem(
                    "The TV-L1 config is impossible",
                    got=self,
                    allowed="tau, lambda_, theta > 0; epsilon >= 0; counts >= 1; 0 < scale_step < 1; "
                    "median 0, 1 (none), 3 or 5",
                    fix="start from the defaults and change one value",
                )
            )

    @classmethod
    def denseflow(cls, **changes: Any) -> Self:
        """One loop of 300 iterations a warp and no median: the CUDA algorithm's loop, the CPU algorithm's rest."""
        preset: dict[str, Any] = {"inner_iterations": 300, "outer_iterations": 1, "median": 0}
        return cls(**{**preset, **changes})

    @classmethod
    def cuda(cls, **changes: Any) -> Self:
        """OpenCV's CUDA algorithm and its defaults, which made the flow of TSN, denseflow and mmaction2."""
        return cls.denseflow(**{"variant": "opencv-cuda", "stop": "opencv-cuda", **changes})

    @property
    def max_iterations(self) -> int:
        """Most iterations of one warp."""
        return self.inner_iterations * self.outer_iterations

    def levels(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Sizes of the pyramid's levels, (height, width) pixels, finest first.

        Each level is the one before times `scale_step`, rounded half to even; the first that would have a side under
        16 pixels ends the pyramid.
        """
        sizes = [(height, width)]
        while len(sizes) < self.scales:
            smaller = (round(sizes[-1][0] * self.scale_step), round(sizes[-1][1] * self.scale_step))
            if min(smaller) < SMALLEST_SIDE:
                break
            sizes.append(smaller)
        return tuple(sizes)
