"""An attention net taught by the class loss of the other stream: what moves, what is fed, and what tests use."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from models import TwoStream
from models.attention_maps import START_ATTENTION, crop_maps
from models.stream import to_input
from models.two_stream import view_probabilities
from pipeline.core.config import from_dict, override, to_dict
from pipeline.core.errors import UserError
from pipeline.train import checkpoint
from pipeline.train.step import train_step
from pipeline.train.task import StepSettings
from pipeline.train.worker import freeze
from pipeline.two_stream.extract import in_process
from pipeline.two_stream.feed import JointFeed, StreamFeed
from pipeline.two_stream.joint import JointNet, JointTask
from pipeline.two_stream.networks import load_attention, load_stream
from pipeline.two_stream.procedure import train_system
from pipeline.two_stream.recipe import JointRecipe
from pipeline.two_stream.samples import OTHER, whole_sample
from pipeline.two_stream.stages import attention_stage, final_stage, first_stage, joint_recipe, stages
from pipeline.two_stream.system import System

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
SETTINGS = StepSettings(torch.device("cpu"), "fp32", False, 1, 0.0, 0, 0, 1)


@pytest.fixture(scope="module")
def by_labels(tiny):
    return replace(tiny, name="labels", attention=replace(tiny.attention, learns="labels"))


@pytest.fixture(scope="module")
def runs(by_labels, maps_of):
    """Recipes of the second round, by stream."""
    return {
        stage.stream: joint_recipe(
            by_labels,
            stage,
            maps_of.places,
            flow_root=by_labels.flow_root,
            checkpoint=maps_of.checkpoints[stage.stream],
            features=maps_of.checkpoints[OTHER[stage.stream]],
        )
        for stage in stages(by_labels)
        if stage.kind == "joint"
    }


def started(recipe):
    task = JointTask(recipe)
    torch.manual_seed(0)
    module = task.build()
    task.first_weights(module, log=False)
    return task, module


def test_no_map_is_extracted_and_the_second_round_teaches_the_attention_nets(by_labels):
    listed = [(s.name, s.kind, s.weights, s.features) for s in stages(by_labels)]
    assert listed == [
        ("r1-spatial", "train", "", ""),
        ("r1-temporal", "train", "", ""),
        ("r2-spatial", "joint", "r1-spatial", "r1-temporal"),
        ("r2-temporal", "joint", "r1-temporal", "r1-spatial"),
    ]
    # S, made of spatial features, is for the temporal stream, whose run therefore holds its net.
    assert attention_stage(by_labels, "spatial") == final_stage(by_labels, "temporal") == "r2-temporal"
    assert first_stage(by_labels, "spatial") == "r1-spatial"


@pytest.mark.parametrize("change", ["order=alternating", "attention.source=last", 'rounds=[{"epochs":1}]'])
def test_other_rounds_are_refused(by_labels, change):
    with pytest.raises(UserError, match=r"in the second of two rounds[\s\S]*attention\.learns=grad_cam"):
        override(by_labels, [change])


def test_the_recipe_of_a_run_says_all_that_it_depends_on(runs, maps_of):
    run = runs["temporal"]
    assert (run.features, run.init.path) == (maps_of.checkpoints["spatial"], maps_of.checkpoints["temporal"])
    assert (run.model.stream, run.other.stream, run.maps_root, run.round) == ("temporal", "spatial", "", 2)
    assert from_dict(JointRecipe, to_dict(run)) == run


@pytest.mark.parametrize("stream", ["spatial", "temporal"])
def test_beside_each_sample_lies_the_other_streams_whole_picture_of_the_same_place(runs, paired, stream):
    run, other = runs[stream], OTHER[stream]
    joint, alone = JointFeed(run), StreamFeed(run)
    videos = {v.id: v for split in ("train", "test") for v in paired.videos(other, split, 1)}
    for fed, plain in (
        (list(joint.train(0, 0, 1)), list(alone.train(0, 0, 1))),
        (list(joint.validation(0, 1)), list(alone.validation(0, 1))),
    ):
        assert len(fed) == len(plain) > 0
        for with_it, without in zip(fed, plain, strict=True):
            for name in ("x_BGHWC", "box_BG4", "index_BG", "label_B"):
                assert torch.equal(getattr(with_it, name), getattr(without, name)), name
            assert without.whole_BGHWC is None
            for b, video_id in enumerate(with_it.ids):
                video = videos[video_id]
                encoded = read(paired, other, video)
                expected = whole_sample(encoded, with_it.index_BG[b].numpy(), joint._training.sight)
                assert np.array_equal(with_it.whole_BGHWC[b].numpy(), expected)
    assert joint.sample_bytes == alone.sample_bytes + 75 * 75 * (6 if other == "temporal" else 3)


def read(paired, stream, video):
    from pipeline.data.store.shards import read_video
    from pipeline.flow.store import read_flow

    return (read_video if stream == "spatial" else read_flow)(paired.root(stream), video.shard, video.row)


@pytest.mark.ray
def test_the_same_batches_travel_through_ray_tasks(runs, ray_cluster):
    here = list(JointFeed(runs["spatial"]).train(0, 0, 1))
    run = replace(runs["spatial"], compute=replace(runs["spatial"].compute, data_cpus=1.0))
    there = list(JointFeed(run).train(0, 0, 1))
    assert [batch.ids for batch in here] == [batch.ids for batch in there]
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a.whole_BGHWC, b.whole_BGHWC)
        assert torch.equal(a.x_BGHWC, b.x_BGHWC)


def test_training_begins_with_the_network_of_the_first_round(runs):
    """The attention net's first map is 0.1 but for what its small last weights add."""
    _, module = started(runs["spatial"])
    module.eval()
    (batch,) = list(JointFeed(runs["spatial"]).validation(0, 1))[:1]
    with torch.no_grad():
        whole = to_input(batch.whole_BGHWC, START_ATTENTION, module.other.config).flatten(0, 1)
        map_Nhw = module.attention(module.other.features(whole))
        assert (map_Nhw - START_ATTENTION).abs().max() < 0.05
        module.attention.conv2.weight.zero_()
        joint = module(whole, batch.x_BGHWC, batch.box_BG4, dtype=torch.float32, channels_last=False)
        first = module.stream(to_input(batch.x_BGHWC, START_ATTENTION, module.stream.config))
    torch.testing.assert_close(joint.logits_BK, first.logits_BK, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stream", ["spatial", "temporal"])
def test_the_class_loss_moves_the_attention_net_and_its_reader_and_nothing_under_it(runs, stream):
    task, module = started(runs[stream])
    trained = freeze(task, module)
    task.train_mode(module)
    assert not module.other.training
    batches = JointFeed(runs[stream]).train(0, 0, 1)
    before = copy.deepcopy(module.state_dict())
    optimizer = torch.optim.SGD(trained, lr=0.1)
    assert train_step(task, module, optimizer, batches, 0.1, SETTINGS).applied
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if name.startswith("other.")}
    assert {name for name in module.state_dict() if name.startswith("attention.")} <= moved
    assert "stream.trunk.fc.weight" in moved
    assert all(p.grad is None for p in module.other.parameters())
    assert all(p.grad.abs().max() > 0 for p in module.attention.parameters())


def test_the_gradient_at_the_map_is_that_of_the_loss(runs):
    """Against finite differences in the last bias, through sigmoid, resize, channel and stream."""
    _, module = started(runs["temporal"])
    module = module.double().eval()
    batch = next(iter(JointFeed(runs["temporal"]).train(0, 0, 1)))
    with torch.no_grad():
        whole = to_input(batch.whole_BGHWC, START_ATTENTION, module.other.config, dtype=torch.float64).flatten(0, 1)

    def loss():
        output = module(whole, batch.x_BGHWC, batch.box_BG4, dtype=torch.float64, channels_last=False)
        return torch.nn.functional.cross_entropy(output.logits_BK, batch.label_B, reduction="sum")

    bias = module.attention.conv2.bias
    loss().backward()
    found, step = bias.grad.item(), 1e-2
    with torch.no_grad():
        bias += step
        above = loss()
        bias -= 2 * step
        below = loss()
    # The map itself is float32 (crop_maps), so the difference is no better than that.
    assert found == pytest.approx(((above - below) / (2 * step)).item(), rel=0.05, abs=1e-4)
    assert found != 0


def test_checkpoints_of_a_joint_run_hold_a_stream_and_an_attention_net(runs, write_checkpoint, tmp_path):
    _, module = started(runs["spatial"])
    folder = write_checkpoint(tmp_path / "a", runs["spatial"], model=module)
    for found, trained in (
        (load_stream(folder, runs["spatial"].model), module.stream),
        (load_attention(folder), module.attention),
    ):
        assert not found.training
        assert all(torch.equal(value, trained.state_dict()[name]) for name, value in found.state_dict().items())
    with pytest.raises(UserError, match="is another one"):
        load_stream(folder, runs["temporal"].model)


def test_a_test_has_the_networks_and_the_path_of_the_training(runs):
    """TwoStream against the joint networks whose parts it has, on maps of 3 x 3 places and mirrored crops."""
    torch.manual_seed(0)
    nets = {}
    for stream, run in runs.items():
        config, other = (replace(one, size=139) for one in (run.model, run.other))
        nets[stream] = JointNet(config, other, run.hidden, run.kernel).eval()
        torch.nn.init.normal_(nets[stream].attention.conv2.weight, std=0.3)
        torch.nn.init.normal_(nets[stream].stream.trunk.fc.weight, std=0.003)  # features are large before training
    both = TwoStream(
        first_spatial=nets["temporal"].other,
        first_temporal=nets["spatial"].other,
        spatial_attention=nets["temporal"].attention,
        temporal_attention=nets["spatial"].attention,
        spatial=nets["spatial"].stream,
        temporal=nets["temporal"].stream,
    )
    rng = torch.Generator().manual_seed(0)
    x, whole = (
        {s: torch.randint(0, 256, (2, 2, 139, 139, c), generator=rng, dtype=torch.uint8) for s, c in CHANNELS}
        for _ in range(2)
    )
    box_BG4 = torch.tensor([[0.9, 0.1, 0.2, 0.8], [0.0, 0.3, 0.6, 1.0]]).expand(2, 2, 4)
    found = both(
        x["spatial"],
        x["temporal"],
        whole_rgb_BGHWC=whole["spatial"],
        whole_flow_BGHWC=whole["temporal"],
        box_BG4=box_BG4,
    )
    assert found.spatial_map_BGhw.shape == (2, 2, 3, 3)
    for stream, probabilities_BK in (("spatial", found.spatial_BK), ("temporal", found.temporal_BK)):
        net = nets[stream]
        with torch.no_grad():
            seen = to_input(whole[OTHER[stream]], START_ATTENTION, net.other.config).flatten(0, 1)
            output = net(seen, x[stream], box_BG4, dtype=torch.float32, channels_last=False)
        probabilities = output.segment_logits_BGK.softmax(-1).mean(dim=1)
        torch.testing.assert_close(probabilities, probabilities_BK, rtol=1e-4, atol=1e-5)
        blind_BK = view_probabilities(net.stream, x[stream]).mean(dim=1)
        assert (blind_BK - probabilities_BK).abs().max() > 1e-3, "the map is seen"
        assert probabilities_BK.min() > 0.01


CHANNELS = (("spatial", 3), ("temporal", 6))


def test_labels_of_test_videos_have_no_way_into_a_map(runs):
    """The map of a batch is the same whatever its labels say; validation counts hits alone."""
    task, module = started(runs["spatial"])
    module.eval()
    batch = next(iter(JointFeed(runs["spatial"]).validation(0, 1)))
    other = replace(batch, label_B=1 - batch.label_B)
    seen = []
    module.stream.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    with torch.no_grad():
        sums = [task.count(module, one, SETTINGS) for one in (batch, other)]
    assert torch.equal(seen[0], seen[1])
    assert int(sums[0]["top1"] + sums[1]["top1"]) == len(batch.ids)
    expected = crop_maps(
        module.attention(
            module.other.features(to_input(batch.whole_BGHWC, START_ATTENTION, module.other.config).flatten(0, 1))
        ),
        batch.box_BG4.flatten(0, 1),
        75,
    )
    assert torch.equal(seen[0][:, 0, -1:], expected.detach())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_system_is_trained_tested_and_resumed(ray_cluster, by_labels, tmp_path):
    said = []
    options = {"root": str(tmp_path), "name": "s", "engine": in_process, "say": said.append}
    assert train_system(by_labels, until="r2-spatial", **options) is None
    system = train_system(by_labels, **options)
    assert [line.split()[1].rstrip(":") for line in said if line.endswith("begins")] == [
        s.name for s in stages(by_labels)
    ]
    assert set(system.checkpoints) == {"r1-spatial", "r1-temporal", "r2-spatial", "r2-temporal"}
    assert "best top-1 with the maps of its attention net" in said[-1]
    assert System.open(str(tmp_path), "s") == system
    both = system.two_stream()
    r1 = checkpoint.read(system.checkpoint("r1-temporal")).model
    r2 = checkpoint.read(system.checkpoint("r2-spatial")).model
    for name, value in both.first_temporal.state_dict().items():
        assert torch.equal(value, r1[name]), name
        assert torch.equal(value, r2[f"other.{name}"]), name
    for name, value in both.temporal_attention.state_dict().items():
        assert torch.equal(value, r2[f"attention.{name}"]), name
    said.clear()
    assert train_system(by_labels, **options) == system
    assert all(line.endswith("done before") for line in said)
