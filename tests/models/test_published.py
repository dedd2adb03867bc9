"""The authors' checkpoint layout, rebuilt from their names and shapes, gives the same scores for RGB as theirs for BGR.

The layout below was read from github.com/mprg-smilab/SpatioTemporalAttentionBranchNetwork; the functional forward pass
under it is written from the papers, in the authors' names, and uses none of our modules.
"""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from models import ModelConfig, build_model
from models.published import load_published, published_config, read_published

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def layout(depth: int, classes: int, frames: int, width: int = 64) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `model_state_dict` for abn_resnet50 or abn_resnet101."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name, channels):
        for tensor in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{tensor}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def layer(name, channels_in, planes, blocks, kernel_t):
        for i in range(blocks):
            here, channels = f"{name}.{i}", channels_in if i == 0 else 4 * planes
            shapes[f"{here}.conv1.weight"] = (planes, channels, kernel_t, 1, 1)
            norm(f"{here}.bn1", planes)
            shapes[f"{here}.conv2.weight"] = (planes, planes, 1, 3, 3)
            norm(f"{here}.bn2", planes)
            shapes[f"{here}.conv3.weight"] = (4 * planes, planes, 1, 1, 1)
            norm(f"{here}.bn3", 4 * planes)
            if i == 0:
                shapes[f"{here}.downsample.0.weight"] = (4 * planes, channels, 1, 1, 1)
                norm(f"{here}.downsample.1", 4 * planes)

    one, two, three, four = BLOCKS[depth]
    shapes["conv1.weight"] = (width, 3, 1, 7, 7)
    norm("bn1", width)
    layer("layer1", width, width, one, 1)
    layer("layer2", 4 * width, 2 * width, two, 1)
    layer("layer3", 8 * width, 4 * width, three, 3)
    layer("layer4", 16 * width, 8 * width, four, 3)
    shapes["fc.weight"], shapes["fc.bias"] = (classes, 32 * width), (classes,)
    layer("layer_att_common", 16 * width, 8 * width, four, 3)
    norm("conv_att_common.0", 32 * width)
    shapes["conv_att_common.1.weight"] = (classes, 32 * width, 1, 1, 1)
    norm("conv_att_common.2", classes)
    shapes["conv_att_out.0.weight"] = (classes, classes, 1, 1, 1)
    shapes["fc_att_out.weight"], shapes["fc_att_out.bias"] = (174, classes * frames), (174,)
    shapes["conv_spatial_att.0.weight"] = (1, classes, 1, 1, 1)
    norm("conv_spatial_att.1", 1)
    shapes["conv_temp_att1.0.weight"] = (1, classes, 3, 3, 3)
    norm("conv_temp_att1.1", 1)
    shapes["conv_temp_att2.0.weight"] = (frames, frames, 1, 1)
    for i in (0, 2):
        shapes[f"conv_temp_att3.{i}.weight"], shapes[f"conv_temp_att3.{i}.bias"] = (frames, frames), (frames,)
    shapes["conv_att_mechanism.0.weight"] = (16 * width, 32 * width, 1, 1, 1)
    norm("conv_att_mechanism.1", 16 * width)
    return shapes


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Random tensors whose activations stay in range."""
    draw = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=draw) + 0.5
        elif len(shape) > 1:
            fan_in = torch.Size(shape[1:]).numel()
            state[name] = torch.randn(shape, generator=draw) * (1.5 / fan_in) ** 0.5
        else:
            state[name] = torch.rand(shape, generator=draw) * 0.4 + (0.4 if name.endswith("weight") else -0.2)
    return state


def forward_in_their_names(state, x):
    def conv(name, x, stride=1):
        kernel = state[f"{name}.weight"]
        padding = tuple(size // 2 for size in kernel.shape[2:])
        return F.conv3d(x, kernel, stride=(1, stride, stride), padding=padding)

    def norm(name, x):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{tensor}"] for tensor in names))

    def layer(name, x, stride):
        for i in range(len({key.split(".")[1] for key in state if key.startswith(f"{name}.")})):
            here, step = f"{name}.{i}", stride if i == 0 else 1
            y = norm(f"{here}.bn1", conv(f"{here}.conv1", x)).relu()
            y = norm(f"{here}.bn2", conv(f"{here}.conv2", y, step)).relu()
            y = norm(f"{here}.bn3", conv(f"{here}.conv3", y))
            if i == 0:
                x = norm(f"{here}.downsample.1", conv(f"{here}.downsample.0", x, step))
            x = (x + y).relu()
        return x

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = norm("bn1", conv("conv1", x, 2)).relu()
    x = F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    f = layer("layer3", layer("layer2", layer("layer1", x, 1), 2), 2)
    maps = conv("conv_att_common.1", norm("conv_att_common.0", layer("layer_att_common", f, 1)))
    maps = norm("conv_att_common.2", maps).relu()
    att_logits = linear("fc_att_out", conv("conv_att_out.0", maps).mean(dim=(3, 4)).flatten(1))
    spatial = norm("conv_spatial_att.1", conv("conv_spatial_att.0", maps)).sigmoid()
    frames = norm("conv_temp_att1.1", conv("conv_temp_att1.0", maps)).relu()[:, 0]
    squeezed = F.conv2d(frames, state["conv_temp_att2.0.weight"]).relu().mean(dim=(2, 3))
    temporal = linear("conv_temp_att3.2", linear("conv_temp_att3.0", squeezed).relu()).sigmoid()
    temporal = temporal[:, None, :, None, None]
    both = torch.cat([f * (1 + spatial), f * temporal], dim=1)
    merged = norm("conv_att_mechanism.1", conv("conv_att_mechanism.0", both))
    logits = linear("fc", layer("layer4", merged, 2).mean(dim=(2, 3, 4)))
    return logits, att_logits, spatial, temporal


def save(path, state, prefix="") -> str:
    """A checkpoint as their training script writes it, optimiser and schedule included."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones=[75, 125])
    checkpoint = {
        "epoch": 150,
        "iteration": 395_850,
        "best_score": 0.5862,
        "model_state_dict": {f"{prefix}{name}": value for name, value in state.items()},
        "optimizer_state_dict": optimiser.state_dict(),
        "scheduler_state_dict": schedule.state_dict(),
    }
    torch.save(checkpoint, path)
    return str(path)


@pytest.fixture(scope="module")
def narrow():
    return drawn(layout(50, classes=174, frames=4, width=4))


@pytest.mark.parametrize(("depth", "parameters"), [(50, 55_665_928), (101, 83_570_952)])
def test_the_layout_is_the_authors_whole_network(depth, parameters):
    shapes = layout(depth, classes=174, frames=32)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    learned = [torch.Size(shape).numel() for name, shape in shapes.items() if not name.endswith(buffers)]
    assert sum(learned) == parameters
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    config = published_config(state)
    assert config == ModelConfig(depth=depth, merge="conv_bn")
    with torch.device("meta"):
        assert len(build_model(config).state_dict()) == len(state)


@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "DataParallel"])
def test_rgb_through_the_import_equals_bgr_through_the_original(tmp_path, narrow, prefix):
    state = read_published(save(tmp_path / "checkpoint-best.pt", narrow, prefix))
    model = build_model(published_config(state)).eval()
    report = load_published(model, state)
    rgb_BCTHW = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(rgb_BCTHW)
        theirs = forward_in_their_names(narrow, rgb_BCTHW.flip(1))
        unconverted = forward_in_their_names(narrow, rgb_BCTHW)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert (ours.logits_BK - unconverted[0]).abs().max() > 1e-2, "colour order must matter in this test"
    assert {*report.copied} == set(model.state_dict())
    assert report.skipped == report.kept == ()


def test_free_choices_of_the_recipe_do_not_stand_in_the_way(narrow):
    config = published_config(narrow)
    fields = {"dropout": 0.2, "activation_checkpointing": True, "att_stage_init": "copy_stage4"}
    model = build_model(ModelConfig(**{**vars(config), **fields}))
    load_published(model, narrow)
    assert torch.equal(model.attention.stage[0].conv_a.weight, narrow["layer_att_common.0.conv1.weight"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"merge": "conv_bn_relu"}, ["model.merge=conv_bn"]),
        ({"frames": 8}, ["model.frames=4"]),
        ({"depth": 101}, ["model.depth=50"]),
        ({"arch": "baseline"}, ["model.arch=st_abn"]),
        ({"att_head": "gap", "temporal_head": "conv1"}, ["model.att_head=linear", "model.temporal_head=conv3"]),
    ],
    ids=str,
)
def test_another_network_is_refused_with_the_settings_to_change(narrow, fields, words):
    model = build_model(ModelConfig(**{**vars(published_config(narrow)), **fields}))
    with pytest.raises(ValueError, match="Fix: set model") as caught:
        load_published(model, narrow)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fc_att_extra.weight": torch.zeros(1)}, "fc_att_extra.weight has no place"),
        ({"layer_att_common.0.conv9.weight": torch.zeros(1)}, "layer_att_common.0.conv9.weight has no place"),
        ({"bn1.running_var": None}, "extractor.stem.bn.running_var has no source"),
        ({"fc_att_out.weight": torch.zeros(200, 696)}, "fc_att_out.weight is (200, 696), not (174, 696)"),
    ],
    ids=["extra", "extra in the attention stage", "missing", "shape"],
)
def test_an_unmatched_tensor_is_refused_and_changes_nothing(narrow, change, words):
    state = {name: value for name, value in (narrow | change).items() if value is not None}
    model = build_model(published_config(narrow))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="Fix: ") as caught:
        load_published(model, state)
    assert words in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_their_plain_resnet_and_basic_blocks_are_refused_for_what_they_are(narrow):
    plain = {name: value for name, value in narrow.items() if "att" not in name}
    with pytest.raises(ValueError, match="without an attention branch"):
        published_config(plain)
    basic = {name: value for name, value in narrow.items() if "conv3" not in name}
    with pytest.raises(ValueError, match="bottlenecks"):
        published_config(basic)


def test_a_file_of_another_layout_is_named(tmp_path, narrow):
    torch.save(narrow, tmp_path / "bare.pt")
    with pytest.raises(ValueError, match=r"not an authors' ST-ABN checkpoint\. Received: .*bare\.pt"):
        read_published(str(tmp_path / "bare.pt"))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt with list"):
        read_published(str(tmp_path / "list.pt"))
    with pytest.raises(ValueError, match="does not exist"):
        read_published(str(tmp_path / "absent.pt"))
