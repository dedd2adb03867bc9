"""Recomputed blocks change nothing but memory, compilation changes nothing at all, and wrong clips are named."""

import re
import subprocess
import sys

import pytest
import torch

from models import ModelConfig, build_model
from models.layers3d import check_clip

NETWORKS = [
    {"depth": 10},
    {"depth": 50},
    {"depth": 18, "arch": "baseline"},
    {"backbone": "c3d", "c3d_temporal_pool": False},
    {"backbone": "swin3d", "depth": 8},
    {"backbone": "swin3d", "depth": 8, "stochastic_depth": 0.5},
]


def pair(**options):
    """The same network twice, without and with activation checkpointing."""
    networks = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = ModelConfig(
            **{"width": 4, "classes": 5, "frames": 4, "dropout": 0.0} | options, activation_checkpointing=checkpointing
        )
        networks.append(build_model(config).train())
    return networks


def clips() -> torch.Tensor:
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def step(model, network=None):
    """Gradients and buffers after one forward and backward pass."""
    output = (model if network is None else network)(clips())
    sum(tensor.float().square().sum() for tensor in output if tensor is not None).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return gradients, {name: buffer.clone() for name, buffer in model.named_buffers()}


def same(first, second) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("bf16", [False, True])
def test_recomputation_gives_the_same_gradients_and_updates_batch_norm_once(options, bf16):
    kept, recomputed = pair(**options)
    before = {name: buffer.clone() for name, buffer in recomputed.named_buffers()}
    torch.manual_seed(2)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        gradients_kept, buffers_kept = step(kept)
        torch.manual_seed(2)
        gradients, buffers = step(recomputed)
    assert same(gradients_kept, gradients)
    assert same(buffers_kept, buffers)
    assert all(float(count) == 1 for name, count in buffers.items() if name.endswith("num_batches_tracked"))
    if before:
        assert not same(before, buffers)
    momenta = {module.momentum for module in recomputed.modules() if hasattr(module, "momentum")}
    assert momenta <= {0.1}, "momentum must be back where it was"


def test_recomputation_keeps_only_block_inputs():
    """Counts saved bytes: the point of the option."""

    def saved(model) -> int:
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(clips())
        return total

    kept, recomputed = pair(depth=50)
    assert saved(recomputed) < 0.5 * saved(kept)


def test_two_backward_passes_through_one_recomputed_forward():
    kept, recomputed = pair(depth=10)
    gradients = []
    for model in (kept, recomputed):
        output = model(clips())
        output.logits_BK.square().sum().backward(retain_graph=True)
        output.att_logits_BK.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert same(*gradients)
    assert same(dict(kept.named_buffers()), dict(recomputed.named_buffers()))


def test_recomputation_in_eval_mode_still_gives_gradients_and_touches_no_statistics():
    kept, recomputed = (model.eval() for model in pair(depth=10))
    gradients_kept, buffers_kept = step(kept)
    gradients, buffers = step(recomputed)
    assert same(gradients_kept, gradients)
    assert same(buffers_kept, buffers)
    assert not any(int(count) for name, count in buffers.items() if name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "host",
    [
        pytest.param({}, id="resnet3d"),
        pytest.param({"backbone": "swin3d", "depth": 8}, id="swin3d", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside torch's compiler
def test_compiles_in_one_graph_and_gives_the_same_step(checkpointing, host):
    eager, compiled = (pair(**{"depth": 10} | host)[checkpointing] for _ in range(2))
    graph = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    gradients_eager, buffers_eager = step(eager)
    gradients, buffers = step(compiled, graph)
    for name, value in gradients_eager.items():
        torch.testing.assert_close(gradients[name], value)
    for name, value in buffers_eager.items():
        torch.testing.assert_close(buffers[name], value)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(3, 4, 32, 32), ["(3, 4, 32, 32)", "5 axes", "batch axis"]),
        (torch.zeros(2, 4, 32, 32, 3), ["(2, 4, 32, 32, 3)", "3 colour channels", "permute"]),
        (torch.zeros(2, 3, 5, 32, 32), ["T=5", "T=4", "clip.frames"]),
        (torch.zeros(2, 3, 4, 32, 32, dtype=torch.uint8), ["torch.uint8", "mean"]),
    ],
    ids=["rank", "channels", "frames", "integers"],
)
@pytest.mark.parametrize("arch", ["baseline", "st_abn"])
def test_a_wrong_clip_is_refused_with_what_was_received_and_how_to_mend_it(arch, x, words):
    model = build_model(ModelConfig(arch=arch, depth=10, width=4, classes=5, frames=4))
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        model(x)
    for word in [*words, "Received", "Allowed", "Fix"]:
        assert word in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_a_right_clip_of_any_floating_type_passes(dtype):
    check_clip(torch.zeros(1, 3, 4, 8, 8, dtype=dtype), frames=4)


def test_models_import_and_run_without_anything_but_torch_and_numpy():
    code = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torchvision", "ray", "mlflow", "cv2", "av", "decord", "pyarrow", "pipeline"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import torch, models, models.inflate, models.published
config = models.ModelConfig(depth=10, width=4, classes=5, frames=4)
print(models.build_model(config).eval()(torch.zeros(1, 3, 4, 32, 32)).logits_BK.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "torch.Size([1, 5])"
