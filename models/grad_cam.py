"""Grad-CAM: where in the image, or in the clip, the score of a class comes from, at any layer of a network.

Source: Selvaraju et al. 2017, "Grad-CAM", as the two-stream thesis (S3) uses it: for class y with score z_y before the
softmax and a layer's output L, alpha_c = mean over places of dz_y / dL_c, map = ReLU(sum over c of alpha_c L_c), then
divided by its largest value. Here it always sees the network as it is in evaluation, whoever calls it, and leaves no
gradient behind: a map is a constant.

It needs a label. Training has one; at test time maps come from `AttentionNet` alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.baseline import Baseline
from models.inception import LAST, LAYERS
from models.outputs import StAbnOutput
from models.st_abn import StAbn
from models.stream import StreamNet, check_images

CUT = {"st_abn": "merge", "baseline": "extractor"}
"""Where the perception branch begins, by `arch`: the layer with a map as fine as ST-ABN's spatial attention."""

LAST_STAGE = "perception.stage"
"""The last layer of a network on clips that has places."""

EPSILON = 1e-8
"""Added to a map's largest value before the division, so that a map of zeros stays one."""


def grad_cam(net: StreamNet, x_NCHW: Tensor, label_N: Tensor, layers: Sequence[str] = (LAST,)) -> dict[str, Tensor]:
    """Explain one class of each image at some layers.

    The layers in front of the first one asked for run without a graph, and nothing is propagated back beyond it: for
    Mixed_7c the backward pass is the classifier's. Images do not influence each other.

    Args:
        net: a stream; its modes, gradients and buffers are as before when this returns.
        x_NCHW: images from `to_input`.
        label_N: integer class of each image.
        layers: names in `models.inception.LAYERS`.

    Returns:
        For each layer, map_Nhw: float32 in [0, 1] at the layer's resolution; zeros where no place speaks for the class.

    Raises:
        ValueError: unknown layers, images of another shape, labels that do not fit.
    """
    _check_layers(layers)
    _check_labels(label_N, len(x_NCHW), net.config.classes)
    check_images(x_NCHW, net.config)
    # Also leaves a caller's inference mode, whose tensors autograd would refuse to save.
    with torch.inference_mode(False), _evaluating(net):
        first, *later = sorted(set(layers), key=LAYERS.index)
        with torch.no_grad():
            features = {first: net.trunk.features(x_NCHW, until=first)}
        with torch.enable_grad():
            y_NChw = features[first] = features[first].detach().requires_grad_()
            before = first
            for layer in [*later, LAST]:
                y_NChw = features[layer] = net.trunk.features(y_NChw, after=before, until=layer)
                before = layer
            maps = _maps(net.scores(y_NChw), label_N, [features[layer] for layer in layers])
    return dict(zip(layers, maps, strict=True))


def feature_cam(net: StreamNet, features_NChw: Tensor, label_N: Tensor) -> Tensor:
    """Explain one class of each image at the last layer, whose features the caller has already.

    Args:
        net: a stream; nothing in it changes.
        features_NChw: from `net.features` in evaluation mode.
        label_N: integer class of each image.

    Returns:
        map_Nhw, as `grad_cam` gives it for the last layer.

    Raises:
        ValueError: labels that do not fit.
    """
    _check_labels(label_N, len(features_NChw), net.config.classes)
    with torch.inference_mode(False), _evaluating(net), torch.enable_grad():
        # A tensor made in inference mode can never require a gradient; its copy can.
        leaf_NChw = features_NChw.clone() if features_NChw.is_inference() else features_NChw
        leaf_NChw = leaf_NChw.detach().requires_grad_()
        return _maps(net.scores(leaf_NChw), label_N, [leaf_NChw])[0]


def clip_cam(net: Baseline | StAbn, x_BCTHW: Tensor, label_B: Tensor, layer: str = LAST_STAGE) -> Tensor:
    """Explain one class of each clip: the same formula with frames as a third axis of places.

    The layers in front of `layer` run without a graph. Clips do not influence each other.

    Args:
        net: on any backbone; its modes, gradients and buffers are as before when this returns.
        x_BCTHW: normalised clips.
        label_B: integer class of each clip.
        layer: name of a submodule that returns B,C,T,h,w, such as `LAST_STAGE` or one of `CUT`.

    Returns:
        map_BThw: float32 in [0, 1], at most 1 in each clip; zeros where no place speaks for the class.

    Raises:
        ValueError: a layer that the network lacks, clips of another shape, labels that do not fit.
    """
    _check_labels(label_B, len(x_BCTHW), net.config.classes)
    names = {name for name, _ in net.named_modules()}
    if layer not in names:
        parts = ", ".join(name for name in sorted(names) if name.count(".") == 1)
        raise ValueError(f"The network has no such layer. Received: {layer}. Allowed: {parts}, .... Fix: name one.")
    leaves: list[Tensor] = []

    def begin(module: nn.Module, inputs: object, y_BCThw: Tensor) -> Tensor:
        """From here on there is a graph; whoever switched it off puts its own state back."""
        torch.set_grad_enabled(True)
        leaves.append(y_BCThw.detach().requires_grad_())
        return leaves[0].clone()  # what follows may work in place, which a leaf forbids

    # Also leaves a caller's inference mode, whose tensors autograd would refuse to save.
    with torch.inference_mode(False), _evaluating(net), torch.no_grad():
        clip_BCTHW = x_BCTHW.clone() if x_BCTHW.is_inference() else x_BCTHW
        hook = net.get_submodule(layer).register_forward_hook(begin)
        try:
            output: StAbnOutput = net(clip_BCTHW)
        finally:
            hook.remove()
        return _maps(output.logits_BK, label_B, leaves)[0]


def _maps(logits_NK: Tensor, label_N: Tensor, features: Sequence[Tensor]) -> list[Tensor]:
    """Return a map of every layer's features N,C and any axes of places after them."""
    one_hot_NK = torch.zeros_like(logits_NK).scatter_(1, label_N.to(logits_NK.device, torch.int64)[:, None], 1)
    # `grad` with inputs computes nothing else: no parameter's .grad is touched, no convolution's weight gradient made.
    gradients = torch.autograd.grad(logits_NK, features, grad_outputs=one_hot_NK)
    maps = []
    for layer_NChw, gradient_NChw in zip(features, gradients, strict=True):
        places = tuple(range(2, layer_NChw.dim()))
        alpha_NC11 = gradient_NChw.float().mean(dim=places, keepdim=True)
        map_Nhw = (alpha_NC11 * layer_NChw.detach().float()).sum(dim=1).relu()
        largest_N11 = map_Nhw.flatten(1).amax(dim=1).view(-1, *[1 for _ in places])
        maps.append(map_Nhw / (largest_N11 + EPSILON))
    return maps


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; then every module's own mode again, since a frozen one differs from its parent."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _check_layers(layers: Sequence[str]) -> None:
    unknown = [layer for layer in layers if layer not in LAYERS]
    if unknown or not layers:
        raise ValueError(
            f"Grad-CAM explains layers of Inception-V3. Received: {unknown or 'no layer'}. Allowed: "
            f"{', '.join(LAYERS)}. Fix: name one of them."
        )


def _check_labels(label_N: Tensor, images: int, classes: int) -> None:
    if label_N.shape != (images,) or label_N.is_floating_point():
        raise ValueError(
            f"Grad-CAM explains one class of each image. Received: labels {label_N.dtype} of shape "
            f"{tuple(label_N.shape)} for {images} images. Allowed: {images} integers. Fix: repeat a video's label for "
            "each of its images."
        )
    if images and not 0 <= int(label_N.min()) <= int(label_N.max()) < classes:
        raise ValueError(
            f"A label is no class of the network. Received: {int(label_N.min())} to {int(label_N.max())}. Allowed: 0 "
            f"to {classes - 1}. Fix: leave out videos whose class is not published."
        )
