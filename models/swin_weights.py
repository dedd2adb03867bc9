"""Kinetics-400 weights of torchvision's Video Swin Transformers, for the trunk: stem and stages 1 to 4.

The published stem embeds patches of two frames; ours shows every frame twice, so its kernel is the sum of the two taps.
Everything else is copied as it is. What has no counterpart (attention branch, merge, classifiers) keeps its weights.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from models.baseline import Baseline
from models.config import ModelConfig
from models.inflate import ImportReport, copy_trunk, read_torchvision
from models.st_abn import StAbn

NETWORKS = {(12, 96): "swin3d_t", (24, 96): "swin3d_s", (24, 128): "swin3d_b"}
"""torchvision's networks by depth and width."""

VERSION = "KINETICS400_V1"


def read_kinetics(config: ModelConfig, path: str = "") -> dict[str, Tensor]:
    """Read the state dict of one of torchvision's Video Swin Transformers.

    Args:
        config: its depth and width say which, when `path` is empty.
        path: a file, or an http(s) URL; empty downloads torchvision's own (and needs torchvision).

    Returns:
        torchvision's names to CPU tensors.

    Raises:
        ValueError: no such network or file, or a file that holds something else.
    """
    network = NETWORKS.get((config.depth, config.width), "")
    if not network and not path:
        raise ValueError(
            "torchvision has no Kinetics weights for this network. Received: "
            f"backbone={config.backbone}, depth={config.depth}, width={config.width}. Allowed: swin3d of depth and "
            f"width {', '.join(f'{d} and {w}' for d, w in NETWORKS)}. Fix: choose one, or init.source=random."
        )
    return read_torchvision(network, path, VERSION)


def load_kinetics(model: Baseline | StAbn, state: Mapping[str, Tensor]) -> ImportReport:
    """Copy a Video Swin Transformer into the trunk of ours.

    With `att_stage_init="copy_stage4"` the attention branch's stage gets stage 4 as well. With `merge="concat"` patch
    merging in front of stage 4 has twice the input channels, and keeps its weights.

    Args:
        model: a `swin3d` network; changed in place.
        state: torchvision's names to tensors, from `read_kinetics`.

    Returns:
        Every name of either side, with what became of it.

    Raises:
        ValueError: anything in the file without a place in the trunk, or the other way round; nothing was changed then.
    """
    if model.config.backbone != "swin3d":
        raise ValueError(
            "Only a Video Swin Transformer can take the weights of one. Received: "
            f"backbone={model.config.backbone}. Allowed: swin3d. Fix: set model.backbone=swin3d, or another source."
        )
    return copy_trunk(
        model,
        state,
        place=trunk_name,
        convert=_taps_summed,
        classifier="head",
        allowed="a Video Swin Transformer of the same depth and width",
        fix="match model.depth and model.width to the file",
    )


def trunk_name(name: str) -> str | None:
    """Our name for a layer that is named as in torchvision's SwinTransformer3d; None for any other name."""
    if name.startswith("patch_embed."):
        return name.replace("patch_embed.", "extractor.stem.", 1)
    if name.startswith("norm."):
        return f"perception.{name}"
    # features.0, 2, 4, 6 are the blocks of stages 1 to 4; 1, 3, 5 the patch mergings in front of stages 2 to 4.
    feature = re.fullmatch(r"features\.([0-6])\.(.+)", name)
    if feature is None:
        return None
    index = int(feature[1])
    stage = (index + 1) // 2 + 1
    part = "perception.stage" if stage == 4 else f"extractor.stage{stage}"
    return f"{part}.{'merging' if index % 2 else 'blocks'}.{feature[2]}"


def _taps_summed(value: Tensor, target: Tensor) -> Tensor:
    return value.sum(dim=2, keepdim=True) if value.dim() == 5 and target.dim() == 5 else value
