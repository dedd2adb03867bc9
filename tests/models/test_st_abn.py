"""What the attention mechanism promises: its formulas, overrides and inversions, and who learns from what."""

import pytest
import torch

from models import ModelConfig, build_model
from models.outputs import StAbnOutput
from models.st_abn import attend
from models.st_attention import StAttention

FRAMES, CLASSES = 8, 5
C3D = {"backbone": "c3d", "c3d_temporal_pool": False}
SWIN = {"backbone": "swin3d", "depth": 8}
hosts = pytest.mark.parametrize("host", [{}, SWIN], ids=["resnet3d", "swin3d"])


def small(**options):
    torch.manual_seed(0)
    return build_model(ModelConfig(**{"depth": 10, "width": 8, "classes": CLASSES, "frames": FRAMES} | options))


def clips(batch: int = 2, frames: int = FRAMES, size: int = 64) -> torch.Tensor:
    return torch.randn(batch, 3, frames, size, size, generator=torch.Generator().manual_seed(1))


class Mechanism:
    """Runs a network and keeps the features before the attention mechanism and both halves after it."""

    def __init__(self, model):
        self.model = model
        self.f = self.spatial = self.temporal = None
        model.extractor.register_forward_hook(self._before)
        model.merge.register_forward_pre_hook(self._after)

    def _before(self, module, inputs, output):
        self.f = output

    def _after(self, module, inputs):
        self.spatial, self.temporal = inputs[0].chunk(2, dim=1)

    def __call__(self, *args, **kwargs):
        with torch.no_grad():
            return self.model(*args, **kwargs)


@pytest.fixture(params=[{}, SWIN], ids=["resnet3d", "swin3d"])
def mechanism(randomise, request):
    return Mechanism(randomise(small(**request.param), clips()).eval())


@hosts
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"width": 16},
        {"merge": "conv_bn"},
        {"merge": "concat"},
        {"temporal_head": "conv1"},
        {"att_head": "gap"},
        {"att_stage_init": "copy_stage4"},
        {"frames": 5, "classes": 11},
        {"activation_checkpointing": True},
        {"dropout": 0.0},
    ],
    ids=str,
)
def test_output_shapes_and_open_intervals(host, options):
    model = small(**host | options)
    frames, classes = options.get("frames", FRAMES), options.get("classes", CLASSES)
    output = model(clips(frames=frames))
    assert isinstance(output, StAbnOutput)
    assert output.logits_BK.shape == output.att_logits_BK.shape == (2, classes)
    assert output.spatial_B1THW.shape == (2, 1, frames, 4, 4)
    assert output.temporal_B1T11.shape == (2, 1, frames, 1, 1)
    for attention in (output.spatial_B1THW, output.temporal_B1T11):
        assert 0 < attention.min() <= attention.max() < 1
    assert all(torch.isfinite(tensor).all() for tensor in output)


def test_bottlenecks_too():
    assert small(depth=50)(clips()).spatial_B1THW.shape == (2, 1, FRAMES, 4, 4)


@pytest.mark.parametrize("published", [{}, {"backbone": "swin3d", "depth": 12, "width": 96}], ids=str)
def test_published_size_on_the_meta_device(published):
    with torch.device("meta"):
        output = build_model(ModelConfig(**published))(torch.empty(2, 3, 32, 224, 224))
    assert [tuple(tensor.shape) for tensor in output] == [(2, 174), (2, 174), (2, 1, 32, 14, 14), (2, 1, 32, 1, 1)]


def test_c3d_backbone_keeps_one_attention_value_a_frame():
    model = small(backbone="c3d", c3d_temporal_pool=False, att_stage_init="copy_stage4").eval()
    output = model(clips(size=112))
    assert output.spatial_B1THW.shape == (2, 1, FRAMES, 14, 14)
    assert output.temporal_B1T11.shape == (2, 1, FRAMES, 1, 1)
    assert output.logits_BK.shape == (2, CLASSES)


def test_clips_need_not_be_square(mechanism):
    output = mechanism(torch.randn(1, 3, FRAMES, 48, 80))
    assert output.spatial_B1THW.shape == (1, 1, FRAMES, 3, 5)


def test_attend_on_numbers_small_enough_to_check_by_hand():
    f_BCTHW = torch.tensor([10.0, 20.0]).reshape(1, 1, 2, 1, 1)
    spatial_B1THW = torch.tensor([0.5, 0.0]).reshape(1, 1, 2, 1, 1)
    temporal_B1T11 = torch.tensor([0.0, 0.25]).reshape(1, 1, 2, 1, 1)
    both_BCT = attend(f_BCTHW, spatial_B1THW, temporal_B1T11)[..., 0, 0]
    assert both_BCT.tolist() == [[[15.0, 20.0], [0.0, 5.0]]]


def test_the_attention_branch_returns_an_override_of_one_map_beside_its_own_other(mechanism):
    branch = mechanism.model.attention
    assert isinstance(branch, StAttention)
    f_BCTHW = torch.rand(2, mechanism.model.merge[0].out_channels, FRAMES, 3, 3)
    with torch.no_grad():
        logits_BK, spatial_B1THW, _ = branch(f_BCTHW)
        overridden = branch(f_BCTHW, temporal_override_BT=torch.full((2, FRAMES), 0.25))
    assert torch.equal(overridden[0], logits_BK)
    assert torch.equal(overridden[1], spatial_B1THW)
    assert (overridden[2] == 0.25).all()


def test_formulas_of_the_mechanism(mechanism):
    output = mechanism(clips())
    torch.testing.assert_close(mechanism.spatial, (1 + output.spatial_B1THW) * mechanism.f)
    torch.testing.assert_close(mechanism.temporal, output.temporal_B1T11 * mechanism.f)


def test_inversion_takes_one_minus_the_attention_and_keeps_the_residual(mechanism):
    plain = mechanism(clips())
    inverted = mechanism(clips(), invert_spatial=True, invert_temporal=True)
    torch.testing.assert_close(mechanism.spatial, (2 - plain.spatial_B1THW) * mechanism.f)
    torch.testing.assert_close(mechanism.temporal, (1 - plain.temporal_B1T11) * mechanism.f)
    torch.testing.assert_close(inverted.spatial_B1THW, 1 - plain.spatial_B1THW)
    torch.testing.assert_close(inverted.temporal_B1T11, 1 - plain.temporal_B1T11)
    torch.testing.assert_close(inverted.att_logits_BK, plain.att_logits_BK, rtol=0, atol=0)


@pytest.mark.parametrize("which", ["spatial", "temporal"])
def test_each_inversion_changes_only_its_own_half(mechanism, which):
    mechanism(clips())
    before = {"spatial": mechanism.spatial, "temporal": mechanism.temporal}
    mechanism(clips(), **{f"invert_{which}": True})
    after = {"spatial": mechanism.spatial, "temporal": mechanism.temporal}
    other = {"spatial": "temporal", "temporal": "spatial"}[which]
    assert torch.equal(before[other], after[other])
    assert (before[which] - after[which]).abs().max() > 1e-2


def test_inverting_twice_is_the_identity(mechanism):
    plain = mechanism(clips())
    once = mechanism(clips(), invert_spatial=True, invert_temporal=True)
    assert (once.logits_BK - plain.logits_BK).abs().max() > 1e-3
    twice = mechanism(
        clips(),
        temporal_override_BT=once.temporal_B1T11.flatten(1),
        spatial_override_B1THW=once.spatial_B1THW,
        invert_spatial=True,
        invert_temporal=True,
    )
    torch.testing.assert_close(twice.logits_BK, plain.logits_BK)
    torch.testing.assert_close(twice.temporal_B1T11, plain.temporal_B1T11)


def test_neutral_attention_leaves_the_features_as_they_are(mechanism):
    mechanism(
        clips(),
        temporal_override_BT=torch.ones(2, FRAMES),
        spatial_override_B1THW=torch.zeros(2, 1, FRAMES, 4, 4),
    )
    assert torch.equal(mechanism.spatial, mechanism.f)
    assert torch.equal(mechanism.temporal, mechanism.f)


def test_overriding_with_the_networks_own_attention_changes_nothing(mechanism):
    plain = mechanism(clips())
    same = mechanism(
        clips(), temporal_override_BT=plain.temporal_B1T11.flatten(1), spatial_override_B1THW=plain.spatial_B1THW
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True))


def test_an_edited_frame_is_muted_in_the_temporal_half_alone(mechanism):
    plain = mechanism(clips())
    half = mechanism.spatial
    edit = torch.ones(2, FRAMES)
    edit[1, 3] = 0
    output = mechanism(clips(), temporal_override_BT=edit)
    assert torch.equal(output.temporal_B1T11.flatten(1), edit)
    assert (mechanism.temporal[1, :, 3] == 0).all()
    assert torch.equal(mechanism.temporal[1, :, 2], mechanism.f[1, :, 2])
    assert torch.equal(mechanism.temporal[0], mechanism.f[0])
    assert torch.equal(mechanism.spatial, half)
    assert torch.equal(output.att_logits_BK, plain.att_logits_BK)


def test_overrides_of_any_number_type_are_accepted(mechanism):
    integers = mechanism(clips(), temporal_override_BT=torch.ones(2, FRAMES, dtype=torch.int64))
    doubles = mechanism(clips(), temporal_override_BT=torch.ones(2, FRAMES, dtype=torch.float64))
    assert torch.equal(integers.logits_BK, doubles.logits_BK)
    assert integers.temporal_B1T11.dtype == torch.float32


@pytest.mark.parametrize(
    "override",
    [
        {"temporal_override_BT": torch.ones(2, FRAMES - 1)},
        {"temporal_override_BT": torch.ones(1, FRAMES)},
        {"temporal_override_BT": torch.ones(2, 1, FRAMES, 1, 1)},
        {"spatial_override_B1THW": torch.ones(2, FRAMES, 4, 4)},
        {"spatial_override_B1THW": torch.ones(2, 1, FRAMES, 64, 64)},
    ],
    ids=lambda override: str({name: tuple(value.shape) for name, value in override.items()}),
)
def test_an_override_of_another_shape_is_refused_by_name(mechanism, override):
    (name,) = override
    with pytest.raises(ValueError, match=rf"{name} of shape .* Allowed: \(2, .* Fix: "):
        mechanism(clips(), **override)


@hosts
def test_both_losses_reach_the_extractor_and_the_prediction_teaches_the_attention(host):
    model = small(**host)
    output = model(clips())
    output.logits_BK.square().sum().backward(retain_graph=True)
    for part in (model.attention.spatial_head, model.attention.temporal_head, model.attention.stage, model.merge):
        assert all(parameter.grad.abs().sum() > 0 for parameter in part.parameters())
    assert all(parameter.grad is None for parameter in model.attention.class_head.parameters())
    stem = next(model.extractor.stem.parameters())
    from_perception = stem.grad.clone()
    assert from_perception.abs().sum() > 0
    output.att_logits_BK.square().sum().backward()
    assert (stem.grad - from_perception).abs().sum() > 0


@hosts
def test_a_frozen_extractor_gets_no_gradient_and_the_rest_does(host):
    model = small(**host)
    model.extractor.requires_grad_(False)
    output = model(clips())
    (output.logits_BK.square().sum() + output.att_logits_BK.square().sum()).backward()
    assert all(parameter.grad is None for parameter in model.extractor.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("extractor."))


@hosts
@pytest.mark.parametrize("att_head", ["linear", "gap"])
def test_dropout_is_before_the_last_linear_layer_of_each_branch(host, att_head):
    model = small(**host, att_head=att_head, classes=20)
    zeros = {}

    def note(name):
        return lambda module, inputs: zeros.update({name: (inputs[0] == 0).float().mean().item()})

    model.perception.fc.register_forward_pre_hook(note("perception"))
    if att_head == "linear":
        model.attention.class_head.fc.register_forward_pre_hook(note("attention"))
    first = model(clips())
    assert 0.3 < zeros["perception"] < 0.7
    assert ("attention" in zeros) == (att_head == "linear")
    assert 0.3 < zeros.get("attention", 0.5) < 0.7
    second = model(clips())
    assert not torch.equal(first.logits_BK, second.logits_BK)
    assert torch.equal(first.att_logits_BK, second.att_logits_BK) == (att_head == "gap")
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(clips()).logits_BK, model(clips()).logits_BK)


def test_dropout_of_c3d_is_before_fc7_and_fc8():
    model = small(**C3D)
    zeros = {}
    for name in ("fc6", "fc7", "fc8"):
        layer = getattr(model.perception, name)
        layer.register_forward_pre_hook(lambda module, inputs, name=name: zeros.update({name: inputs[0] == 0}))
    torch.manual_seed(0)
    model(clips())
    first = dict(zeros)
    model(clips())
    changed = {name: not torch.equal(first[name], zeros[name]) for name in zeros}
    assert changed == {"fc6": False, "fc7": True, "fc8": True}


@hosts
def test_attention_stage_starts_random_or_as_a_copy_of_stage_4(host):
    copied, drawn = small(**host, att_stage_init="copy_stage4"), small(**host)
    for ours, theirs in zip(copied.attention.stage.parameters(), copied.perception.stage.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours is not theirs
    first = [next(p for p in part.stage.parameters() if p.dim() > 1) for part in (drawn.attention, drawn.perception)]
    assert not torch.equal(*first)


@hosts
def test_the_seed_decides_every_initial_weight(host):
    first, second = small(**host), small(**host)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_initial_weights_follow_the_recipe():
    model = small(width=16, classes=50)
    convolution = model.extractor.stage2[0].conv_a.weight
    assert convolution.shape[0] != convolution.shape[1]
    fan_out = convolution.shape[0] * convolution[0, 0].numel()
    assert convolution.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
    for linear in (model.perception.fc, model.attention.class_head.fc):
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert (linear.bias == 0).all()
    assert (model.merge[1].weight == 1).all()


@pytest.mark.parametrize("options", [{"depth": 50}, {"depth": 18}, C3D, SWIN], ids=str)
def test_channels_last_changes_nothing_but_the_layout(options, randomise):
    model = randomise(small(**options), clips()).eval()
    with torch.no_grad():
        plain = model(clips())
        model.to(memory_format=torch.channels_last_3d)
        last = model(clips().to(memory_format=torch.channels_last_3d))
    for a, b in zip(plain, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{"depth": 10}, {"depth": 18}, C3D, SWIN], ids=str)
def test_bf16_autocast_agrees_with_float32(options, randomise):
    model = randomise(small(**options), clips()).eval()
    with torch.no_grad():
        exact = model(clips())
        model.to(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = model(clips().to(memory_format=torch.channels_last_3d))
    assert rounded.logits_BK.dtype == rounded.att_logits_BK.dtype == torch.bfloat16
    assert rounded.spatial_B1THW.dtype == rounded.temporal_B1T11.dtype == torch.float32
    for a, b in zip(exact, rounded, strict=True):
        assert (a - b.float()).norm() < 0.1 * a.norm()


@hosts
def test_attention_stays_inside_the_open_interval_where_bf16_would_round_to_one(host):
    model = small(**host).eval()
    with torch.no_grad():
        model.attention.temporal_head.fc_b.bias.fill_(8.0)
        with torch.autocast("cpu", torch.bfloat16):
            temporal = model(clips()).temporal_B1T11
    assert torch.sigmoid(torch.tensor(8.0, dtype=torch.bfloat16)) == 1
    assert temporal.max() < 1
