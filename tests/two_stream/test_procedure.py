"""A whole system on two dozen videos, through Ray: every stage, what a second call does, what a kill leaves."""

import json
from dataclasses import replace

import pytest
import torch

from models.stream import to_input
from pipeline.core.errors import UserError
from pipeline.train import checkpoint
from pipeline.train.launch import train
from pipeline.two_stream.extract import in_process
from pipeline.two_stream.feed import StreamFeed
from pipeline.two_stream.maps import MapDataset
from pipeline.two_stream.procedure import Record, train_system
from pipeline.two_stream.stages import Places, stages, stream_recipe
from pipeline.two_stream.system import System
from pipeline.two_stream.tasks import StreamTask

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,  # eight stages, each a start of Ray Train
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its subprocesses to the interpreter's end
]


@pytest.fixture(scope="module")
def trained(ray_cluster, tiny, tmp_path_factory):
    """A system trained in two calls, and what each said."""
    root, said = str(tmp_path_factory.mktemp("runs")), []
    assert train_system(tiny, root=root, name="s", until="r1-spatial-maps", engine=in_process, say=said.append) is None
    before = len(said)
    system = train_system(tiny, root=root, name="s", say=said.append)
    return root, system, said[:before], said[before:]


def record(root, stage):
    return Record(**json.loads(open(Places(root, "s").record(stage)).read()))


def test_all_stages_are_done_once_and_a_second_call_does_what_is_left(trained, tiny):
    _, _, first, second = trained
    names = [stage.name for stage in stages(tiny)]
    assert [line.split()[1] for line in first if line.endswith("begins")] == names[:2]
    assert [line.split()[1] for line in second if line.endswith("begins")] == names[2:]
    assert [line.split()[1].rstrip(":") for line in second if line.endswith("done before")] == names[:2]


def test_a_finished_system_costs_nothing(trained, tiny):
    root, system, *_ = trained
    said = []
    again = train_system(tiny, root=root, name="s", say=said.append)
    assert again == system == System.open(root, "s")
    assert all(line.endswith("done before") for line in said)


def test_the_second_round_begins_where_the_first_ended_and_sees_its_maps(trained, tiny):
    root, *_ = trained
    for stream, other in (("spatial", "temporal"), ("temporal", "spatial")):
        first, second = record(root, f"r1-{stream}"), record(root, f"r2-{stream}")
        snapshot = checkpoint.read(second.checkpoint)
        assert snapshot.recipe["init"] == {"source": "checkpoint", "path": first.checkpoint}
        maps = MapDataset.open(snapshot.recipe["maps_root"])
        assert (maps.stream, maps.manifest["checkpoint"]) == (other, record(root, f"r1-{other}").digest)
        assert snapshot.passport_parts[f"maps of the {other} stream"] == maps.passport
        assert snapshot.recipe["system"] == "s"


def test_the_networks_of_a_system_answer(trained, tiny):
    root, system, *_ = trained
    both = system.two_stream()
    generator = torch.Generator().manual_seed(0)
    rgb, flow = (torch.randint(0, 256, (2, 3, 75, 75, c), generator=generator, dtype=torch.uint8) for c in (3, 6))
    output = both(rgb, flow)
    assert output.fused_BK.shape == (2, 2)
    features = both.first_spatial.features(to_input(rgb, 0.1, both.first_spatial.config).flatten(0, 1))
    assert torch.allclose(both.spatial_attention(features).unflatten(0, (2, 3)), output.spatial_map_BGhw, atol=1e-5)
    with pytest.raises(UserError, match="There is no such system"):
        System.open(root, "other")


def test_another_recipe_under_the_same_name_is_refused(trained, tiny):
    root, *_ = trained
    part = replace(tiny.spatial, optim=replace(tiny.spatial.optim, lr=0.5))
    with pytest.raises(UserError, match=r"optim\.lr 0\.02 -> 0\.5"):
        train_system(replace(tiny, spatial=part), root=root, name="s", say=lambda text: None)
    with pytest.raises(UserError, match="There is no such stage"):
        train_system(tiny, root=root, name="s", until="r9-spatial")


def test_a_run_stopped_in_the_middle_ends_with_the_same_bits(trained, tiny, tmp_path):
    """The second round's spatial stream, with maps: stopped after a step and resumed, against the undisturbed one."""
    root, *_ = trained
    stage = next(stage for stage in stages(tiny) if stage.name == "r2-spatial")
    start = record(root, "r1-spatial").checkpoint
    recipe = stream_recipe(tiny, stage, Places(root, "s"), flow_root=tiny.flow_root, checkpoint=start)
    options = {"root": str(tmp_path), "name": "again", "open_feed": StreamFeed, "open_task": StreamTask}
    stopped = train(replace(recipe, train=replace(recipe.train, max_steps=1)), **options)
    assert stopped.steps == 1
    resumed = train(recipe, **options)
    left, right = checkpoint.read(resumed.last_checkpoint), checkpoint.read(record(root, "r2-spatial").checkpoint)
    assert left.step == right.step == 2
    for name, value in left.model.items():
        assert torch.equal(value, right.model[name]), name
    moved = checkpoint.read(start).model
    assert not torch.equal(left.model["trunk.fc.weight"], moved["trunk.fc.weight"])
