"""What different methods say of the same clips: ST-ABN's own attention, Grad-CAM, and chance."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models import Baseline, StAbn
from models.grad_cam import CUT, clip_cam

Method = Literal["attention", "grad_cam", "random"]
NAMES: dict[Method, str] = {"attention": "ST-ABN", "grad_cam": "Grad-CAM", "random": "random"}
"""Methods and how tables call them; a baseline has no attention."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Explanations:
    """When and where, by one method, on the host."""

    frames_BT: FloatArray
    places_BThw: FloatArray
    """At the resolution of the features before the perception branch, the same for all methods."""


def explain(
    model: Baseline | StAbn, x_BCTHW: Tensor, label_B: Tensor, ids: Sequence[str], seed: int
) -> dict[Method, Explanations]:
    """Explain clips by every method that the network allows.

    Grad-CAM is asked where the attention mechanism works, in front of the perception branch, so that its map is as
    fine as ST-ABN's and no method wins by coarseness. Its weight of a frame is the mean over the frame's places.

    Args:
        model: in eval mode.
        x_BCTHW: normalised clips.
        label_B: class that Grad-CAM explains; the other methods know of none.
        ids: of the clips; a random map depends on its clip's id and `seed` alone.
        seed: of the random maps.
    """
    found: dict[Method, Explanations] = {}
    if isinstance(model, StAbn):
        with torch.no_grad():
            output = model(x_BCTHW)
        found["attention"] = Explanations(_host(output.temporal_B1T11.flatten(1)), _host(output.spatial_B1THW[:, 0]))
    cam_BThw = clip_cam(model, x_BCTHW, label_B, CUT[model.config.arch])
    found["grad_cam"] = Explanations(_host(cam_BThw.mean(dim=(2, 3))), _host(cam_BThw))
    drawn = [generator_of(video, seed).random((2, *cam_BThw.shape[1:]), np.float32) for video in ids]
    found["random"] = Explanations(np.stack([one[0, :, 0, 0] for one in drawn]), np.stack([one[1] for one in drawn]))
    return found


def generator_of(video: str, seed: int) -> np.random.Generator:
    """Return the generator of a clip, whatever its neighbours."""
    return np.random.default_rng([seed, zlib.crc32(video.encode())])


def _host(tensor: Tensor) -> FloatArray:
    return tensor.float().cpu().numpy()
