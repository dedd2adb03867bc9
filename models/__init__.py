"""Networks in pure torch: no cluster, no tracking. `build_model` makes any of them from its config."""

from models.baseline import Baseline
from models.c3d import c3d
from models.config import ModelConfig
from models.outputs import StAbnOutput
from models.resnet3d import resnet3d
from models.st_abn import StAbn

__all__ = ["Baseline", "ModelConfig", "StAbn", "StAbnOutput", "build_model"]


def build_model(config: ModelConfig) -> Baseline | StAbn:
    """Build a network with freshly drawn weights, on the default device.

    Args:
        config: which network. Weights follow torch's global random state; inside `torch.device("meta")` none are drawn.

    Returns:
        A module from normalised RGB clips B,3,T,H,W to a `StAbnOutput`, in training mode.
    """
    backbone = {"resnet3d": resnet3d, "c3d": c3d}[config.backbone](config)
    if config.arch == "baseline":
        return Baseline(config, backbone)
    return StAbn(config, backbone)
