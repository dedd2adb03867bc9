"""The whole network, layer by layer, against NumPy code that shares nothing with it but the state dict."""

import numpy as np
import pytest
import torch

from models import ModelConfig, build_model
from models.c3d import GRID

Weights = dict[str, np.ndarray]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def conv(x, kernel, stride=1, bias=None):
    """One kernel tap at a time: the shifted, strided input times that tap's channel matrix. Padding k // 2."""
    *_, kt, kh, kw = kernel.shape
    _, _, frames, height, width = x.shape
    pad = np.pad(x, [(0, 0), (0, 0), (kt // 2, kt // 2), (kh // 2, kh // 2), (kw // 2, kw // 2)])
    y = 0.0
    for t, h, w in np.ndindex(kt, kh, kw):
        window = pad[:, :, t : t + frames, h : h + height : stride, w : w + width : stride]
        y = y + np.einsum("bcthw,oc->bothw", window, kernel[:, :, t, h, w])
    return y if bias is None else y + bias[:, None, None, None]


def norm(x, weights: Weights, name: str):
    scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + 1e-5)
    shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
    return x * scale[:, None, None, None] + shift[:, None, None, None]


def pool_3_by_3(x):
    """Max over 3 x 3 places, stride 2, one place of padding that never wins."""
    _, _, _, height, width = x.shape
    pad = np.pad(x, [(0, 0), (0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    return np.max([pad[..., h : h + height : 2, w : w + width : 2] for h in range(3) for w in range(3)], axis=0)


def pool_2(x, over_time: bool):
    """Max over 2 x 2 places, and 2 frames if asked, with whatever is left at the edge as a smaller window."""
    steps = (2 if over_time else 1, 2, 2)
    sizes = [-(-size // step) for size, step in zip(x.shape[2:], steps, strict=True)]
    y = np.empty((*x.shape[:2], *sizes))
    for t, h, w in np.ndindex(*sizes):
        window = x[:, :, t * steps[0] : (t + 1) * steps[0], h * 2 : h * 2 + 2, w * 2 : w * 2 + 2]
        y[:, :, t, h, w] = window.max(axis=(2, 3, 4))
    return y


def residual_stage(x, weights: Weights, name: str, stride: int):
    blocks = sorted({int(key[len(name) + 1 :].split(".")[0]) for key in weights if key.startswith(f"{name}.")})
    for block in blocks:
        here, step = f"{name}.{block}", stride if block == 0 else 1
        bottleneck = f"{here}.conv_c.weight" in weights
        y = conv(x, weights[f"{here}.conv_a.weight"], 1 if bottleneck else step)
        y = relu(norm(y, weights, f"{here}.bn_a"))
        y = norm(conv(y, weights[f"{here}.conv_b.weight"], step if bottleneck else 1), weights, f"{here}.bn_b")
        if bottleneck:
            y = norm(conv(relu(y), weights[f"{here}.conv_c.weight"]), weights, f"{here}.bn_c")
        if f"{here}.shortcut.conv.weight" in weights:
            x = norm(conv(x, weights[f"{here}.shortcut.conv.weight"], step), weights, f"{here}.shortcut.bn")
        x = relu(x + y)
    return x


def resnet_features(x, weights: Weights):
    x = relu(norm(conv(x, weights["extractor.stem.conv.weight"], 2), weights, "extractor.stem.bn"))
    x = pool_3_by_3(x)
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        x = residual_stage(x, weights, f"extractor.stage{stage}", stride)
    return x


def resnet_perception(f, weights: Weights):
    x = residual_stage(f, weights, "perception.stage", 2).mean(axis=(2, 3, 4))
    return x @ weights["perception.fc.weight"].T + weights["perception.fc.bias"]


def attention_maps(stage, weights: Weights):
    y = conv(norm(stage, weights, "attention.maps.0"), weights["attention.maps.1.weight"])
    return relu(norm(y, weights, "attention.maps.2"))


def attention_logits(maps, weights: Weights):
    scores = conv(maps, weights["attention.class_head.conv.weight"])
    if "attention.class_head.fc.weight" not in weights:
        return scores.mean(axis=(2, 3, 4))
    flat = scores.mean(axis=(3, 4)).reshape(len(maps), -1)
    return flat @ weights["attention.class_head.fc.weight"].T + weights["attention.class_head.fc.bias"]


def spatial_attention(maps, weights: Weights):
    return sigmoid(
        norm(conv(maps, weights["attention.spatial_head.conv.weight"]), weights, "attention.spatial_head.bn")
    )


def temporal_attention(maps, weights: Weights):
    """Frame by frame: what frame t gives to mixed frame s is mix[s, t]."""
    head = "attention.temporal_head"
    one = relu(norm(conv(maps, weights[f"{head}.conv.weight"]), weights, f"{head}.bn"))[:, 0]
    mix = weights[f"{head}.mix.weight"].reshape(one.shape[1], one.shape[1])
    mixed = np.stack([sum(mix[s, t] * one[:, t] for t in range(len(mix))) for s in range(len(mix))], axis=1)
    z = relu(mixed).mean(axis=(2, 3))
    z = relu(z @ weights[f"{head}.fc_a.weight"].T + weights[f"{head}.fc_a.bias"])
    return sigmoid(z @ weights[f"{head}.fc_b.weight"].T + weights[f"{head}.fc_b.bias"])


def mechanism(f, spatial, temporal, weights: Weights):
    """Channel by channel, so that no broadcast can hide a wrong axis."""
    both = np.concatenate([np.empty_like(f), np.empty_like(f)], axis=1)
    channels = f.shape[1]
    for c in range(channels):
        both[:, c] = f[:, c] + spatial[:, 0] * f[:, c]
        for t in range(f.shape[2]):
            both[:, channels + c, t] = temporal[:, t, None, None] * f[:, c, t]
    if "merge.0.weight" not in weights:
        return both
    return norm(conv(both, weights["merge.0.weight"]), weights, "merge.1")


def as_numpy(model) -> Weights:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def clips(frames: int, size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, frames, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def near(tensor: torch.Tensor, array: np.ndarray) -> None:
    assert tensor.shape == array.shape
    assert np.abs(array).max() > 1e-3
    np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101])
def test_baseline_equals_numpy(depth, randomise):
    config = ModelConfig(arch="baseline", depth=depth, width=4, classes=5, frames=3)
    x = clips(3)
    model = randomise(build_model(config).double(), x).eval()
    weights = as_numpy(model)
    with torch.no_grad():
        features, output = model.extractor(x), model(x)
    f = resnet_features(x.numpy(), weights)
    near(features, f)
    near(output.logits_BK, resnet_perception(f, weights))
    assert output[1:] == (None, None, None)


OPTIONS = [
    {"depth": 50},
    {"depth": 50, "merge": "conv_bn", "att_head": "gap"},
    {"depth": 18, "merge": "concat"},
    {"depth": 10, "temporal_head": "conv1", "frames": 4, "classes": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_st_abn_equals_numpy(options, randomise):
    config = ModelConfig(**{"width": 4, "classes": 5, "frames": 6} | options)
    x = clips(config.frames)
    model = randomise(build_model(config).double(), x).eval()
    weights = as_numpy(model)
    with torch.no_grad():
        output = model(x)

    f = resnet_features(x.numpy(), weights)
    maps = attention_maps(residual_stage(f, weights, "attention.stage", 1), weights)
    spatial, temporal = spatial_attention(maps, weights), temporal_attention(maps, weights)
    merged = mechanism(f, spatial, temporal, weights)
    if config.merge == "conv_bn_relu":
        merged = relu(merged)
    near(output.att_logits_BK, attention_logits(maps, weights))
    near(output.spatial_B1THW, spatial)
    near(output.temporal_B1T11, temporal.reshape(2, 1, config.frames, 1, 1))
    near(output.logits_BK, resnet_perception(merged, weights))
    assert temporal.std() > 1e-3, "constant temporal attention would hide a wrong order of frames"
    assert spatial.std() > 1e-2, "constant spatial attention would hide a wrong axis"


@pytest.mark.parametrize(("over_time", "frames"), [(True, 5), (False, 3)])
def test_c3d_equals_numpy(over_time, frames, randomise):
    config = ModelConfig(
        arch="baseline", backbone="c3d", width=2, classes=5, frames=frames, c3d_temporal_pool=over_time
    )
    x = clips(frames, size=112)[:1]
    model = randomise(build_model(config).double(), x).eval()
    weights = as_numpy(model)
    with torch.no_grad():
        logits = model(x).logits_BK

    def convolved(y, name, count):
        for i in range(count):
            y = relu(conv(y, weights[f"{name}.{i}.0.weight"], bias=weights[f"{name}.{i}.0.bias"]))
        return y

    y = pool_2(convolved(x.numpy(), "extractor.stage1", 1), over_time=False)
    y = pool_2(convolved(y, "extractor.stage2", 1), over_time)
    y = pool_2(convolved(y, "extractor.stage3", 2), over_time)
    y = pool_2(convolved(y, "extractor.stage4", 2), over_time)
    y = pool_2(convolved(y, "perception.stage", 2), over_time)
    assert y.shape[3:] == GRID[1:] == (4, 4), "the published grid before fc6"
    y = y.mean(axis=2).reshape(1, -1)
    for name in ("fc6", "fc7"):
        y = relu(y @ weights[f"perception.{name}.weight"].T + weights[f"perception.{name}.bias"])
    near(logits, y @ weights["perception.fc8.weight"].T + weights["perception.fc8.bias"])


def test_attention_and_merge_on_a_transformer_equal_numpy(randomise):
    """From the host's own features on; the host itself is held against torchvision's in test_swin3d.py."""
    config = ModelConfig(backbone="swin3d", depth=8, width=4, classes=5, frames=6, merge="conv_bn")
    x = clips(config.frames, size=48)
    model = randomise(build_model(config).double(), x).eval()
    weights, seen = as_numpy(model), {}
    for name in ("extractor", "attention.stage", "merge"):
        model.get_submodule(name).register_forward_hook(lambda _, i, o, name=name: seen.update({name: o.numpy()}))
    with torch.no_grad():
        output = model(x)
    maps = attention_maps(seen["attention.stage"], weights)
    spatial, temporal = spatial_attention(maps, weights), temporal_attention(maps, weights)
    near(output.att_logits_BK, attention_logits(maps, weights))
    near(output.spatial_B1THW, spatial)
    near(output.temporal_B1T11, temporal.reshape(2, 1, config.frames, 1, 1))
    near(torch.from_numpy(seen["merge"]), mechanism(seen["extractor"], spatial, temporal, weights))
    assert temporal.std() > 1e-3, "constant temporal attention would hide a wrong order of frames"
