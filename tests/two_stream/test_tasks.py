"""What is learnt: losses against arithmetic of their own, and what must not move while it is."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.attention_maps import crop_maps
from models.stream import to_input
from pipeline.core.errors import UserError
from pipeline.train.step import train_step
from pipeline.train.task import StepSettings
from pipeline.two_stream.feed import StreamBatch
from pipeline.two_stream.networks import load_attention, load_stream
from pipeline.two_stream.stages import attention_recipe, stages, stream_recipe
from pipeline.two_stream.tasks import AttentionTask, StreamTask, stream_input

SETTINGS = StepSettings(torch.device("cpu"), "fp32", False, 1, 0.0, 0, 0, 1)
STAGES = ("r1-spatial", "r2-temporal", "attention-spatial")


@pytest.fixture(scope="module")
def recipes(tiny, maps_of):
    found = {}
    for stage in stages(tiny):
        make = attention_recipe if stage.kind == "attention" else stream_recipe
        checkpoint = maps_of.checkpoints[stage.stream]
        found[stage.name] = make(tiny, stage, maps_of.places, flow_root=tiny.flow_root, checkpoint=checkpoint)
    return found


def batch_of(config, count=4, *, maps=True, seed=0, whole=False):
    rng = np.random.default_rng(seed)
    size, segments = config.size, 1 if whole else config.segments
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.9, 0.1, 0.2, 0.8]]).repeat(count, 1)[:count]
    return StreamBatch(
        x_BGHWC=torch.from_numpy(
            rng.integers(0, 256, (count, segments, size, size, config.image_channels), dtype=np.uint8)
        ),
        map_BGhw=torch.from_numpy(rng.random((count, segments, 1, 1)).astype(np.float16)) if maps else None,
        box_BG4=boxes[:, None].expand(-1, segments, -1).contiguous(),
        index_BG=torch.zeros((count, segments), dtype=torch.int32),
        label_B=torch.from_numpy(rng.integers(0, config.classes, count)),
        ids=tuple(f"v{n}" for n in range(count)),
        step=0,
        epoch=0,
        micro=0,
        samples_in_step=10,
    )


def test_the_loss_of_a_stream_is_the_cross_entropy_of_its_segments_mean_scores(recipes):
    recipe = replace(recipes["r1-spatial"], model=replace(recipes["r1-spatial"].model, segments=3))
    task, batch = StreamTask(recipe), batch_of(recipe.model, maps=False)
    torch.manual_seed(0)
    net = task.build().eval()
    (total,) = task.losses(net, batch, SETTINGS).values()
    x_BGCHW = to_input(batch.x_BGHWC, 0.1, recipe.model)
    logits_BK = sum(net.scores(net.features(x_BGCHW[:, g])) for g in range(3)) / 3
    chances = logits_BK.softmax(1)[torch.arange(4), batch.label_B]
    assert float(total.detach()) == pytest.approx(float(-chances.detach().log().sum() / 10), rel=1e-5)
    sums = task.count(net, batch, SETTINGS)
    assert int(sums["videos"]) == 4
    assert int(sums["top1"]) == int((logits_BK.argmax(1) == batch.label_B).sum())
    assert task.summarise({"top1": 1, "top5": 4, "loss": 2.0}, 4).metrics == {"top1": 25.0, "top5": 100.0, "loss": 0.5}


def test_the_auxiliary_classifier_counts_four_tenths(recipes):
    model = replace(recipes["r1-spatial"].model, aux_head=True, size=299, width=0.05)
    task, batch = StreamTask(replace(recipes["r1-spatial"], model=model)), batch_of(model, 2, maps=False)
    net = task.build()
    task.train_mode(net)
    losses = task.losses(net, batch, SETTINGS)
    values = {name: float(value.detach()) for name, value in losses.items()}
    assert values["total"] == pytest.approx(values["classes"] + 0.4 * values["aux"])
    net.eval()
    assert set(task.count(net, batch, SETTINGS)) == {"videos", "top1", "top5", "loss"}


def test_the_attention_channel_is_the_map_of_the_pixels_region(recipes):
    config = recipes["r2-temporal"].model
    batch = batch_of(config)
    batch = replace(batch, map_BGhw=torch.rand(4, 1, 8, 8).half())
    x_BGCHW = stream_input(batch, config, SETTINGS)
    expected_N1HW = crop_maps(batch.map_BGhw[:, 0], batch.box_BG4[:, 0], config.size)
    assert torch.equal(x_BGCHW[:, 0, -1:], expected_N1HW)
    mirrored = replace(batch, box_BG4=batch.box_BG4[..., [2, 1, 0, 3]])
    flipped_NHW = stream_input(mirrored, config, SETTINGS)[:, 0, -1]
    assert torch.allclose(flipped_NHW, expected_N1HW[:, 0].flip(-1), atol=1e-5)


def test_without_maps_the_channel_is_a_tenth_and_a_baseline_has_none(recipes):
    config = recipes["r1-spatial"].model
    batch = batch_of(config, maps=False)
    assert torch.equal(stream_input(batch, config, SETTINGS)[:, :, -1], torch.full((4, 1, 75, 75), 0.1))
    plain = replace(config, attention_channel=False)
    assert stream_input(batch, plain, SETTINGS).shape == (4, 1, 3, 75, 75)


def test_a_later_round_begins_with_the_weights_of_the_one_before(recipes, maps_of):
    task = StreamTask(recipes["r2-temporal"])
    net = task.build()
    task.first_weights(net, log=False)
    for name, value in load_stream(maps_of.checkpoints["temporal"]).state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    wrong = replace(recipes["r2-temporal"].init, path=maps_of.checkpoints["spatial"])
    with pytest.raises(UserError, match="is another one"):
        StreamTask(replace(recipes["r2-temporal"], init=wrong)).check_first_weights()


def test_imagenet_weights_that_are_no_inception_are_the_users_error(recipes, tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    init = replace(recipes["r1-spatial"].init, source="imagenet", path=str(tmp_path / "w.pth"))
    with pytest.raises(UserError, match="width"):
        StreamTask(replace(recipes["r1-spatial"], init=init)).check_first_weights()


def test_partial_batch_norm_leaves_all_but_the_first_out_of_the_optimiser(recipes):
    recipe = replace(recipes["r1-spatial"], model=replace(recipes["r1-spatial"].model, partial_bn=True))
    task = StreamTask(recipe)
    net = task.build()
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    trained = {id(p) for p in task.parameters(net)}
    assert [id(norm.weight) in trained for norm in norms] == [True] + [False] * (len(norms) - 1)
    assert len(trained) == len(list(net.parameters())) - 2 * (len(norms) - 1)


def attention(recipes):
    task = AttentionTask(recipes["attention-spatial"])
    torch.manual_seed(3)
    module = task.build()
    task.first_weights(module, log=False)
    return task, module


def test_the_loss_of_an_attention_net_is_the_mean_cross_entropy_of_all_places(recipes):
    task, module = attention(recipes)
    batch = batch_of(recipes["attention-spatial"].model)
    module.eval()
    (total,) = task.losses(module, batch, SETTINGS).values()
    with torch.no_grad():
        x_NCHW = to_input(batch.x_BGHWC, 0.1, module.stream.config)[:, 0]
        guess = module.attention(module.stream.features(x_NCHW)).double()
    target = batch.map_BGhw[:, 0].double()
    bce = -(target * guess.log() + (1 - target) * (1 - guess).log())
    assert float(total.detach()) == pytest.approx(float(bce.mean(dim=(1, 2)).sum() / 10), rel=1e-4)
    verdict = task.summarise({"bce": 3.0}, 4)
    assert (verdict.metrics, verdict.score, verdict.top1) == ({"bce": 0.75}, -0.75, None)


def test_an_attention_net_sees_features_of_a_tenth_everywhere_whatever_maps_it_learns(recipes):
    task, module = attention(recipes)
    module.eval()
    seen = []
    original = module.stream.features

    def features(x_NCHW):
        seen.append(x_NCHW)
        return original(x_NCHW)

    module.stream.features = features
    task.losses(module, batch_of(recipes["attention-spatial"].model), SETTINGS)
    assert torch.equal(seen[0][:, -1], torch.full((4, 75, 75), 0.1))


def test_the_stream_under_an_attention_net_does_not_move(recipes):
    task, module = attention(recipes)
    task.train_mode(module)
    trained = list(task.parameters(module))
    for parameter in module.parameters():
        parameter.requires_grad_(any(parameter is p for p in trained))
    before = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.Adam(trained, lr=1e-2)
    for seed in range(3):
        batches = iter([batch_of(recipes["attention-spatial"].model, seed=seed)])
        assert train_step(task, module, optimizer, batches, 1e-2, SETTINGS).applied
    after = module.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name in after if name.startswith("attention.")}


def test_an_attention_net_learns_maps_that_can_be_told_from_features(recipes):
    """Targets by the features themselves: where the first channel is above its mean."""
    task, module = attention(recipes)
    task.train_mode(module)
    optimizer = torch.optim.Adam(list(task.parameters(module)), lr=1e-2)
    batch = batch_of(recipes["attention-spatial"].model, 16)
    batch = replace(batch, samples_in_step=16)
    with torch.no_grad():
        x_NCHW = to_input(batch.x_BGHWC, 0.1, module.stream.config)[:, 0]
        first_N = module.stream.features(x_NCHW).sum(dim=(1, 2, 3))
    target = (first_N > first_N.median()).half()[:, None, None, None]
    batch = replace(batch, map_BGhw=target)
    losses = [
        float(train_step(task, module, optimizer, iter([batch]), 1e-2, SETTINGS).losses["total"]) for _ in range(40)
    ]
    assert losses[-1] < 0.5 * losses[0]


def test_networks_are_found_in_their_checkpoints_and_nothing_else(recipes, maps_of, write_checkpoint, tmp_path):
    _, module = attention(recipes)
    folder = write_checkpoint(tmp_path / "a", recipes["attention-spatial"], model=module)
    net = load_attention(folder)
    assert not net.training
    assert torch.equal(net.conv1.weight, module.attention.conv1.weight)
    with pytest.raises(UserError, match="The checkpoint holds another network"):
        load_stream(folder)
    with pytest.raises(UserError, match="The checkpoint holds another network"):
        load_attention(maps_of.checkpoints["spatial"])
    with pytest.raises(UserError, match="There is no checkpoint"):
        load_stream(str(tmp_path))
