"""Import of checkpoints that the ST-ABN authors' second implementation writes.

Source of the names: github.com/mprg-smilab/SpatioTemporalAttentionBranchNetwork, stabn/models/resnet_abn_v1.py (its
_v2 is the same network) and stabn/utils.py: a `.pt` file with `model_state_dict` beside the optimiser's state.

That network was trained on frames as OpenCV loads them: blue, green, red, each channel normalised by its own mean and
deviation. Reversing the input channels of the first convolution therefore gives the same network for RGB, exactly.
"""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Literal

from torch import Tensor

from models.baseline import Baseline
from models.config import ModelConfig
from models.inflate import ImportReport, read_weights, refuse_partial, trunk_name
from models.st_abn import StAbn

_HEADS = {
    "conv_att_common.0": "attention.maps.0",
    "conv_att_common.1": "attention.maps.1",
    "conv_att_common.2": "attention.maps.2",
    "conv_att_out.0": "attention.class_head.conv",
    "fc_att_out": "attention.class_head.fc",
    "conv_spatial_att.0": "attention.spatial_head.conv",
    "conv_spatial_att.1": "attention.spatial_head.bn",
    "conv_temp_att1.0": "attention.temporal_head.conv",
    "conv_temp_att1.1": "attention.temporal_head.bn",
    "conv_temp_att2.0": "attention.temporal_head.mix",
    "conv_temp_att3.0": "attention.temporal_head.fc_a",
    "conv_temp_att3.2": "attention.temporal_head.fc_b",
    "conv_att_mechanism.0": "merge.0",
    "conv_att_mechanism.1": "merge.1",
    "fc": "perception.fc",
}
"""Their name to ours, outside the residual trunk."""

_FREE = ("dropout", "activation_checkpointing", "att_stage_init", "c3d_temporal_pool")
"""Fields of a config that a checkpoint does not determine: they leave no trace in the trained weights."""

_DEPTHS: dict[tuple[int, ...], Literal[50, 101]] = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101}


def read_published(path: str) -> dict[str, Tensor]:
    """Read the network's state dict out of an authors' checkpoint, without the prefix that DataParallel adds.

    Raises:
        ValueError: no such file, or a file of another layout.
    """
    checkpoint = read_weights(path)
    state = checkpoint.get("model_state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        found = sorted(map(str, checkpoint)) if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
        raise ValueError(
            f"This is not an authors' ST-ABN checkpoint. Received: {path} with {found}. Allowed: a file with "
            "model_state_dict. Fix: give the checkpoint-*.pt that their training script wrote."
        )
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def published_config(state: Mapping[str, Tensor]) -> ModelConfig:
    """The network that an authors' checkpoint belongs to.

    Args:
        state: their names to tensors, from `read_published`.

    Raises:
        ValueError: not their ST-ABN on a bottleneck ResNet; their plain 3D ResNet, for one, is another architecture
            (temporal strides) than the slow pathway, and has no place here.
    """
    blocks = tuple(len({name.split(".")[1] for name in state if name.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4))
    if blocks not in _DEPTHS or "layer4.0.conv3.weight" not in state or "conv_temp_att2.0.weight" not in state:
        raise ValueError(
            f"This is not an authors' ST-ABN-50 or -101. Received: {blocks} residual blocks, "
            f"{'with' if 'conv_temp_att2.0.weight' in state else 'without'} an attention branch. "
            f"Allowed: {' or '.join(map(str, _DEPTHS))}, bottlenecks, with one. Fix: give an abn_resnet50 or "
            "abn_resnet101 checkpoint."
        )
    return ModelConfig(
        arch="st_abn",
        backbone="resnet3d",
        depth=_DEPTHS[blocks],
        width=state["conv1.weight"].shape[0],
        classes=state["fc.weight"].shape[0],
        frames=state["conv_temp_att2.0.weight"].shape[0],
        merge="conv_bn",
        temporal_head="conv3",
        att_head="linear",
    )


def load_published(model: Baseline | StAbn, state: Mapping[str, Tensor]) -> ImportReport:
    """Load an authors' checkpoint, every tensor of it, into a network that takes RGB.

    Args:
        model: built with `published_config(state)`; dropout and checkpointing may differ. Changed in place.
        state: their names to tensors, from `read_published`.

    Returns:
        Every name copied; nothing is skipped or kept.

    Raises:
        ValueError: a differing config, or any name or shape without its counterpart; nothing was changed then.
    """
    theirs = published_config(state)
    comparable = replace(theirs, **{name: getattr(model.config, name) for name in _FREE})
    differing = [
        f"model.{field.name}={getattr(comparable, field.name)}"
        for field in fields(ModelConfig)
        if getattr(comparable, field.name) != getattr(model.config, field.name)
    ]
    refuse_partial(
        [f"{setting} in the checkpoint" for setting in differing],
        "the network that the authors trained",
        f"set {' '.join(differing)}",
    )
    target = model.state_dict()
    copied: dict[str, Tensor] = {}
    wrong: list[str] = []
    for name_theirs, value in state.items():
        name = _our_name(name_theirs)
        if name is None or name not in target:
            wrong.append(f"{name_theirs} has no place")
            continue
        copied[name] = _converted(name, value)
        if copied[name].shape != target[name].shape:
            wrong.append(f"{name_theirs} is {tuple(value.shape)}, not {tuple(target[name].shape)}")
    wrong += [f"{name} has no source" for name in target if name not in copied]
    refuse_partial(wrong, "exactly the tensors of abn_resnet50 or abn_resnet101", "give their unchanged checkpoint")
    model.load_state_dict(copied)
    return ImportReport(copied=tuple(copied), skipped=(), kept=())


def _our_name(name: str) -> str | None:
    in_attention = re.fullmatch(r"layer_att_common\.(.+)", name)
    if in_attention:
        inside = trunk_name(f"layer4.{in_attention[1]}")
        return inside and inside.replace("perception.stage.", "attention.stage.", 1)
    layer, _, tensor = name.rpartition(".")
    return f"{_HEADS[layer]}.{tensor}" if layer in _HEADS else trunk_name(name)


def _converted(name: str, value: Tensor) -> Tensor:
    if name == "extractor.stem.conv.weight":
        return value.flip(1)  # blue, green, red to red, green, blue
    if name == "attention.temporal_head.mix.weight":
        return value.unsqueeze(2)  # theirs is a 2D convolution with frames as channels
    return value
