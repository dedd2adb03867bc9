"""Sizes of images and flow on the device: the two resizings of OpenCV, and central differences, as torch operations.

Shape letters: N pairs, H height, W width of the source, h and w of the target.
"""

from dataclasses import dataclass

import torch

from pipeline.flow.tvl1.config import TvL1Config


@dataclass(frozen=True)
class Axis:
    """Linear interpolation along one axis: two source indices and the weight of the second for every target index."""

    first: torch.Tensor
    second: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, source: int, target: int, scale: float, centred: bool, device: torch.device) -> "Axis":
        """Place `target` samples on `source` ones.

        Args:
            source: size of the source along this axis.
            target: size of the target.
            scale: source samples to a target sample.
            centred: whether pixel centres keep their place (OpenCV's CPU code) or the first corner (its CUDA code).
            device: where the result is used.
        """
        index = torch.arange(target, dtype=torch.float64)
        if centred:
            position = ((index + 0.5) * scale - 0.5).float()
        else:
            position = index.float() * torch.tensor(scale, dtype=torch.float32)
        floor = torch.floor(position)
        weight = torch.where(floor < 0, 0.0, position - floor)
        first = floor.long().clamp(0, source - 1)
        second = torch.where(floor < 0, first, first + 1).clamp(max=source - 1)
        return cls(first.to(device), second.to(device), weight.to(device))


@dataclass(frozen=True)
class Resize:
    """Bilinear resizing of (N, H, W) images."""

    rows: Axis
    columns: Axis

    @classmethod
    def down(
        cls, source: tuple[int, int], target: tuple[int, int], config: TvL1Config, device: torch.device
    ) -> "Resize":
        """Resize images to the next coarser level; OpenCV scales by the step there, not by the ratio of the sizes."""
        scale, centred = 1 / config.scale_step, config.variant == "opencv-cpu"
        axes = (Axis.of(s, t, scale, centred, device) for s, t in zip(source, target, strict=True))
        return cls(*axes)

    @classmethod
    def up(cls, source: tuple[int, int], target: tuple[int, int], config: TvL1Config, device: torch.device) -> "Resize":
        """Resize flow to the next finer level."""
        centred = config.variant == "opencv-cpu"
        axes = (Axis.of(s, t, s / t, centred, device) for s, t in zip(source, target, strict=True))
        return cls(*axes)

    def __call__(self, image_NHW: torch.Tensor) -> torch.Tensor:
        """The resized images, (N, h, w)."""
        fx, fy = self.columns.weight, self.rows.weight[:, None]
        image_NHw = image_NHW[..., self.columns.first] * (1 - fx) + image_NHW[..., self.columns.second] * fx
        return image_NHw[:, self.rows.first] * (1 - fy) + image_NHw[:, self.rows.second] * fy


def slopes(image_NHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Half the difference of a pixel's neighbours in x and in y; at the border the pixel stands in for the missing one.

    Args:
        image_NHW: images.

    Returns:
        Slopes in x and in y, of the same shape.
    """
    x_NHW, y_NHW = torch.empty_like(image_NHW), torch.empty_like(image_NHW)
    for slope, axis in ((x_NHW, 2), (y_NHW, 1)):
        last = image_NHW.shape[axis] - 1
        slope.narrow(axis, 1, last - 1).copy_(image_NHW.narrow(axis, 2, last - 1) - image_NHW.narrow(axis, 0, last - 1))
        slope.narrow(axis, 0, 1).copy_(image_NHW.narrow(axis, 1, 1) - image_NHW.narrow(axis, 0, 1))
        slope.narrow(axis, last, 1).copy_(image_NHW.narrow(axis, last, 1) - image_NHW.narrow(axis, last - 1, 1))
        slope.mul_(0.5)
    return x_NHW, y_NHW
