"""ImageNet weights of a 2D ResNet, inflated to the 3D trunk: stem and stages 1 to 4.

Every temporal tap of a 3D kernel gets the 2D kernel divided by the number of taps (I3D, Carreira and Zisserman 2017,
section 2.4), so a video without motion gives the activations of its one image. What has no 2D counterpart (attention
branch, merge, classifiers) keeps the weights it has.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.hub import load_state_dict_from_url

from models.baseline import Baseline
from models.st_abn import StAbn

IMAGENET_DEPTHS = (18, 34, 50, 101)
"""Depths of `resnet3d` for which torchvision has a 2D network; 10 has none."""

TRUNK = ("extractor.", "perception.stage.", "perception.norm.")
"""Where the 2D network's layers end up."""

_BLOCK_PARTS = {"conv1": "conv_a", "bn1": "bn_a", "conv2": "conv_b", "bn2": "bn_b", "conv3": "conv_c", "bn3": "bn_c"}
_BLOCK_PARTS |= {"downsample.0": "shortcut.conv", "downsample.1": "shortcut.bn"}
_STAGES = {f"layer{n}": f"extractor.stage{n}" for n in (1, 2, 3)} | {"layer4": "perception.stage"}
_STEM = {"conv1": "extractor.stem.conv", "bn1": "extractor.stem.bn"}


@dataclass(frozen=True)
class ImportReport:
    """What became of every weight on either side of an import."""

    copied: tuple[str, ...]
    """Names in our network that got their values from the file."""

    skipped: tuple[tuple[str, str], ...]
    """Names in the file that were not used, each with the reason."""

    kept: tuple[str, ...]
    """Names in our network that keep the values they had."""

    def __str__(self) -> str:
        reasons = "; ".join(f"{name}: {why}" for name, why in self.skipped if not name.endswith("num_batches_tracked"))
        why = f" ({reasons})" if reasons else ""
        return f"{len(self.copied)} tensors copied, {len(self.skipped)} skipped{why}, {len(self.kept)} kept"


def read_imagenet2d(depth: int, path: str = "") -> dict[str, Tensor]:
    """Read the state dict of a torchvision 2D ResNet.

    Args:
        depth: layers of the network, used when `path` is empty.
        path: a file, or an http(s) URL; empty downloads torchvision's IMAGENET1K_V1 weights (and needs torchvision).

    Returns:
        torchvision's names to CPU tensors.

    Raises:
        ValueError: no such network or file, or a file that holds something else.
    """
    if not path and depth not in IMAGENET_DEPTHS:
        raise ValueError(
            f"torchvision has no 2D ResNet of this depth. Received: depth={depth}. Allowed: {IMAGENET_DEPTHS}. "
            "Fix: choose such a model.depth, or init.source=random."
        )
    return read_torchvision(f"resnet{depth}", path)


def read_torchvision(network: str, path: str = "", version: str = "IMAGENET1K_V1") -> dict[str, Tensor]:
    """Read the state dict of one of torchvision's classifiers.

    Args:
        network: torchvision's name for it, used when `path` is empty.
        path: a file, or an http(s) URL; empty downloads torchvision's weights (and needs torchvision).
        version: torchvision's name for those weights.

    Returns:
        torchvision's names to CPU tensors.

    Raises:
        ValueError: no such file, or a file that holds something else.
    """
    if path.startswith(("http://", "https://")):
        return _tensors(_downloaded(path, partial(load_state_dict_from_url, path)), path)
    if path:
        return _tensors(read_weights(path), path)
    from torchvision.models import get_model_weights

    weights = get_model_weights(network)[version]
    return _tensors(_downloaded(weights.url, partial(weights.get_state_dict, check_hash=True)), weights.url)


def read_weights(path: str) -> object:
    """Unpickle a local file of tensors and plain containers onto the CPU, and nothing that could run code.

    Raises:
        ValueError: no such file, or a file with other objects in it.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"The weights file does not exist. Received: {path}. Allowed: a local file. Fix: check init.path, or "
            "copy the file here first."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError or EOFError, by the kind of damage
        raise ValueError(
            f"The weights file cannot be read. Received: {path}: {error}. Allowed: a file that "
            "torch.load(weights_only=True) accepts. Fix: download it again, or save its state dict anew."
        ) from error


def inflate(model: Baseline | StAbn, state_2d: Mapping[str, Tensor]) -> ImportReport:
    """Copy a 2D ResNet into the trunk of a 3D one, kernels divided by their temporal size.

    With `att_stage_init="copy_stage4"` the attention branch's stage gets the inflated stage 4 as well. With
    `merge="concat"` stage 4 has twice the input channels, so its first convolution and shortcut keep their weights.

    Args:
        model: a `resnet3d` network; changed in place.
        state_2d: torchvision's names to tensors, from `read_imagenet2d`.

    Returns:
        Every name of either side, with what became of it.

    Raises:
        ValueError: anything in the file without a place in the trunk, or the other way round; nothing was changed then.
    """
    if model.config.backbone != "resnet3d":
        raise ValueError(
            f"Only a ResNet can be inflated from a 2D ResNet. Received: backbone={model.config.backbone}. "
            "Allowed: resnet3d. Fix: set model.backbone=resnet3d, or init.source=random (of swin3d kinetics400)."
        )
    return copy_trunk(
        model,
        state_2d,
        place=trunk_name,
        convert=_inflated,
        classifier="fc",
        allowed="a 2D ResNet of the same depth, at width 64",
        fix="match model.depth and model.width to the file",
    )


def copy_trunk(
    model: Baseline | StAbn,
    state: Mapping[str, Tensor],
    *,
    place: Callable[[str], str | None],
    convert: Callable[[Tensor, Tensor], Tensor],
    classifier: str,
    allowed: str,
    fix: str,
) -> ImportReport:
    """Copy another network's layers into the trunk of ours: all of them or none.

    Args:
        model: changed in place.
        state: their names to tensors.
        place: their name to ours; None where there is no place.
        convert: their tensor, and ours of that place, to what is copied.
        classifier: their name for the last linear layer, which is skipped.
        allowed: what would have fitted, for the error.
        fix: how to mend it, for the error.

    Raises:
        ValueError: anything in the file without a place in the trunk, or the other way round; nothing was changed then.
    """
    target = model.state_dict()
    copied: dict[str, Tensor] = {}
    skipped: list[tuple[str, str]] = []
    wrong: list[str] = []
    for theirs, value in state.items():
        name = place(theirs)
        if theirs.endswith("num_batches_tracked"):
            skipped.append((theirs, "counts steps of another training"))
        elif theirs in (f"{classifier}.weight", f"{classifier}.bias"):
            skipped.append((theirs, "classifier of other classes"))
        elif name is None or name not in target:
            wrong.append(f"{theirs} has no place")
        elif (converted := convert(value, target[name])).shape == target[name].shape:
            copied[name] = converted
        elif _takes_both_features(model, name, converted, target[name]):
            skipped.append((theirs, "merge=concat doubles its input channels"))
        else:
            wrong.append(f"{theirs} is {tuple(converted.shape)}, not {tuple(target[name].shape)}")
    placed = copied.keys() | {place(theirs) for theirs, _ in skipped}
    trunk = [name for name in target if _in_trunk(name)]
    wrong += [f"{name} has no source" for name in trunk if name not in placed]
    refuse_partial(wrong, allowed, fix)
    model.load_state_dict(copied, strict=False)
    filled = set(copied)
    if isinstance(model, StAbn) and model.config.att_stage_init == "copy_stage4":
        model.copy_last_stage()
        filled |= {name for name in target if name.startswith("attention.stage.")}
    return ImportReport(
        copied=tuple(name for name in target if name in filled),
        skipped=tuple(skipped),
        kept=tuple(name for name in target if name not in filled),
    )


def trunk_name(name_2d: str) -> str | None:
    """Our name for a layer of the trunk that is named as in torchvision's ResNet; None for any other name."""
    stem = re.fullmatch(r"(conv1|bn1)\.(\w+)", name_2d)
    if stem:
        return f"{_STEM[stem[1]]}.{stem[2]}"
    block = re.fullmatch(r"(layer[1-4])\.(\d+)\.(conv[123]|bn[123]|downsample\.[01])\.(\w+)", name_2d)
    if block:
        return f"{_STAGES[block[1]]}.{block[2]}.{_BLOCK_PARTS[block[3]]}.{block[4]}"
    return None


def refuse_partial(wrong: list[str], allowed: str, fix: str) -> None:
    """Refuse an import in which any name found no counterpart.

    Raises:
        ValueError: `wrong` is not empty; names the first five.
    """
    if wrong:
        shown = "; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise ValueError(f"The weights do not fit the network. Received: {shown}. Allowed: {allowed}. Fix: {fix}.")


def _inflated(value_2d: Tensor, target: Tensor) -> Tensor:
    if value_2d.dim() != 4 or target.dim() != 5:
        return value_2d
    taps = target.shape[2]
    return value_2d.unsqueeze(2).expand(-1, -1, taps, -1, -1) / taps


def _in_trunk(name: str) -> bool:
    return name.startswith(TRUNK) and not name.endswith("num_batches_tracked")


def _takes_both_features(model: Baseline | StAbn, name: str, value: Tensor, target: Tensor) -> bool:
    if not isinstance(model, StAbn) or model.config.merge != "concat" or not name.startswith("perception.stage."):
        return False
    channels_in = min(1, value.dim() - 1)  # of a weight the second axis, of a norm its only one
    doubled = [size * (2 if axis == channels_in else 1) for axis, size in enumerate(value.shape)]
    return list(target.shape) == doubled


def _downloaded(url: str, load: Callable[..., object]) -> object:
    try:
        return load(progress=False, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ValueError(
            f"The weights cannot be downloaded. Received: {url}: {error}. Allowed: an address in reach. "
            "Fix: download the file elsewhere, and give its path as init.path."
        ) from error


def _tensors(state: object, source: str) -> dict[str, Tensor]:
    if isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values()):
        return dict(state)
    raise ValueError(
        f"The weights file holds no state dict. Received: {source}: {_contents(state)}. Allowed: a mapping of names to "
        "tensors. Fix: save the network's state_dict() itself."
    )


def _contents(state: object) -> str:
    return f"a mapping with {sorted(map(str, state))[:5]}" if isinstance(state, Mapping) else type(state).__name__
