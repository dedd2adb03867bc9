"""Networks in pure torch: no cluster, no tracking.

`build_model` makes any single-stream recogniser from its config, `StreamNet` a stream of the two-stream system from its
own; `TwoStream` joins trained streams for tests. torch is imported with the first network, not with a config, so that
whoever only reads recipes has not waited for it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.attention_net import AttentionNet
    from models.baseline import Baseline
    from models.config import ModelConfig, StreamConfig
    from models.outputs import StAbnOutput, StreamOutput, TwoStreamOutput
    from models.st_abn import StAbn
    from models.stream import StreamNet
    from models.two_stream import TwoStream

__all__ = [
    "AttentionNet",
    "Baseline",
    "ModelConfig",
    "StAbn",
    "StAbnOutput",
    "StreamConfig",
    "StreamNet",
    "StreamOutput",
    "TwoStream",
    "TwoStreamOutput",
    "build_model",
]
_HOME = {
    "AttentionNet": "attention_net",
    "Baseline": "baseline",
    "ModelConfig": "config",
    "StAbn": "st_abn",
    "StAbnOutput": "outputs",
    "StreamConfig": "config",
    "StreamNet": "stream",
    "StreamOutput": "outputs",
    "TwoStream": "two_stream",
    "TwoStreamOutput": "outputs",
}
"""The module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def build_model(config: ModelConfig) -> Baseline | StAbn:
    """Build a network with freshly drawn weights, on the default device.

    Args:
        config: which network. Weights follow torch's global random state; inside `torch.device("meta")` none are drawn.

    Returns:
        A module from normalised RGB clips B,3,T,H,W to a `StAbnOutput`, in training mode.
    """
    from models.baseline import Baseline
    from models.c3d import c3d
    from models.resnet3d import resnet3d
    from models.st_abn import StAbn
    from models.swin3d import swin3d

    backbone = {"resnet3d": resnet3d, "c3d": c3d, "swin3d": swin3d}[config.backbone](config)
    if config.arch == "baseline":
        return Baseline(config, backbone)
    return StAbn(config, backbone)
