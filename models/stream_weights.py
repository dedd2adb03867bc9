"""ImageNet's Inception-V3 into a stream: the first convolution is remade for the stream's channels, the rest copied.

Source: TSN's "cross modality pre-training" (Wang et al. 2016, section 3.3): a channel that ImageNet has not seen starts
as the mean over RGB. Kernels are not rescaled by the number of channels; the batch norm behind them adapts. What the
thesis (S3) leaves open: docs/decisions/0007.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.inflate import read_torchvision, refuse_partial
from models.stream import StreamNet

FIRST_CONV = "Conv2d_1a_3x3.conv.weight"
"""The weights that know how many channels an image has."""


@dataclass(frozen=True)
class StreamImport:
    """What became of every weight on either side of an import. Names in our network are as in its state dict."""

    copied: tuple[str, ...]
    """Names in our network that have the values of the file."""

    made: tuple[tuple[str, str], ...]
    """Names in our network whose values were computed, each with how."""

    skipped: tuple[tuple[str, str], ...]
    """Names in the file that were not used, each with the reason."""

    def __str__(self) -> str:
        made = "; ".join(f"{name}: {how}" for name, how in self.made)
        reasons = sorted({f"{name.split('.')[0]}: {why}" for name, why in self.skipped if not _counts_steps(name)})
        return (
            f"{len(self.copied)} tensors copied, {len(self.made)} made ({made}), "
            f"{len(self.skipped)} skipped ({'; '.join(reasons)})"
        )


def read_inception(path: str = "") -> dict[str, Tensor]:
    """Read the state dict of torchvision's Inception-V3.

    Args:
        path: a file, or an http(s) URL; empty downloads torchvision's IMAGENET1K_V1 weights (and needs torchvision).

    Raises:
        ValueError: no such file, or a file that holds something else.
    """
    return read_torchvision("inception_v3", path)


def load_imagenet(net: StreamNet, state: Mapping[str, Tensor]) -> StreamImport:
    """Give a stream the weights of an ImageNet classifier, and its last linear layers new ones.

    The spatial stream keeps ImageNet's kernels for RGB, its attention channel gets their mean; every channel of the
    temporal stream gets the mean. With `attention_init="zero"` the attention channel gets zeros in either stream.
    The classifier (and the auxiliary one's) is drawn anew, deviation 0.001, bias 0, by torch's global random state.

    Args:
        net: a stream of width 1; changed in place.
        state: torchvision's names to tensors, from `read_inception`.

    Returns:
        Every name of either side, with what became of it.

    Raises:
        ValueError: anything in the file without a place in the network, or the other way round; nothing was changed
            then.
    """
    target = net.trunk.state_dict()
    copied: dict[str, Tensor] = {}
    made: dict[str, tuple[Tensor, str]] = {}
    skipped: list[tuple[str, str]] = []
    wrong: list[str] = []
    for name, value in state.items():
        if _counts_steps(name):
            skipped.append((name, "counts steps of another training"))
        elif name in _CLASSIFIERS:
            skipped.append((name, "classifier of other classes"))
        elif name.startswith("AuxLogits.") and net.trunk.AuxLogits is None:
            skipped.append((name, "no auxiliary head"))
        elif name not in target:
            wrong.append(f"{name} has no place")
        elif name == FIRST_CONV and tuple(value.shape) == (len(target[name]), 3, *target[name].shape[2:]):
            made[name] = _first_kernels(net, value)
        elif value.shape == target[name].shape:
            copied[name] = value
        else:
            wrong.append(f"{name} is {tuple(value.shape)}, not {tuple(target[name].shape)}")
    made |= {name: (_classifier(name, target[name]), "drawn") for name in _CLASSIFIERS if name in target}
    mentioned = state.keys() | made.keys()
    wrong += [f"{name} has no source" for name in target if name not in mentioned and not _counts_steps(name)]
    refuse_partial(wrong, "torchvision's Inception-V3, and a stream of width 1", "set the stream's width to 1.0")
    net.trunk.load_state_dict(copied | {name: value for name, (value, _) in made.items()}, strict=False)
    return StreamImport(
        copied=tuple(f"trunk.{name}" for name in copied),
        made=tuple((f"trunk.{name}", how) for name, (_, how) in made.items()),
        skipped=tuple(skipped),
    )


_CLASSIFIERS = ("fc.weight", "fc.bias", "AuxLogits.fc.weight", "AuxLogits.fc.bias")


def _counts_steps(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _classifier(name: str, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if name.endswith("bias") else torch.randn_like(like) * 0.001


def _first_kernels(net: StreamNet, rgb_C3kk: Tensor) -> tuple[Tensor, str]:
    mean_C1kk = rgb_C3kk.mean(dim=1, keepdim=True)
    config = net.config
    if config.stream == "spatial":
        kernels, how = [rgb_C3kk], "RGB kept"
    else:
        kernels, how = [mean_C1kk.expand(-1, config.image_channels, -1, -1)], "mean over RGB for each channel of flow"
    if config.attention_channel:
        kernels.append(mean_C1kk if config.attention_init == "mean" else torch.zeros_like(mean_C1kk))
        how += (
            f", {config.attention_init}{' over RGB' if config.attention_init == 'mean' else ''} for the attention map"
        )
    return torch.cat(kernels, dim=1), how
