"""Champion and candidate asked in one job: who was right, counted a second way; and what is seen in the bytes."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models import ModelConfig, build_model
from pipeline.annotate.batches import BatchRow, read_batch, write_batch
from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.data.feed.clips import load_clip
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval.load import load, recipe_of
from pipeline.finetune.edits import read_edits
from pipeline.finetune.recipe import derive
from pipeline.finetune.results import job_for
from pipeline.retrain.compare import EVIDENCE, LIST, Networks, compare, freeze, inspect_networks, spread
from pipeline.train import checkpoint


@pytest.fixture
def dataset(tiny_root):
    return PreparedDataset.open(tiny_root)


@pytest.fixture
def job(tiny_checkpoint):
    recipe = derive(recipe_of(checkpoint.read(tiny_checkpoint)), tiny_checkpoint, ())
    return job_for(recipe, tiny_checkpoint, 4)


@pytest.fixture
def other(tiny_checkpoint, make_checkpoint):
    """A function: the tiny network with some of its state changed."""

    def make(change, **values):
        state = {name: tensor.clone() for name, tensor in checkpoint.read(tiny_checkpoint).model.items()}
        change(state)
        return make_checkpoint(model=state, **values)

    return make


def headed(state):
    """Another perception branch, all else as it was."""
    torch.manual_seed(7)
    drawn = build_model(ModelConfig(arch="st_abn", depth=10, width=8, classes=3, frames=8)).state_dict()
    assert drawn.keys() == state.keys()
    state |= {name: value for name, value in drawn.items() if name.startswith("perception.")}


def hits(network_uri, dataset):
    """Who is right on the validation videos, one at a time in this process."""
    network = load(network_uri)
    found = []
    for video in dataset.videos("validation"):
        clip = load_clip(read_video(dataset.root, video.shard, video.row), network.recipe.clip)
        found.append(int(network.answer(clip.x_THWC[None]).logits_BK[0].argmax()) == video.label)
    return tuple(found)


@pytest.fixture
def batch(tmp_path):
    shared = {"dataset": "folder", "fps": 12.0, "init": "blank", "annotators": ("p",), "n_annotators": 1}
    shared |= {"kappa": None, "decision": "single", "model_version_shown": "m", "editor_version": "1"}
    shared |= {"seconds_spent": 1.0, "submitted_at": 1.0}
    rows = [
        BatchRow(**shared, video_id=video, label=label, num_frames=n, scores=(0.0,) * (n - 4) + (1.0,) * 4,
                 source=(0,) * n, split=split)
        for video, label, n, split in (("train-0", 0, 12, "train"), ("train-1", 1, 9, "heldout_edit"))
    ]  # fmt: skip
    return read_batch(storage.join(str(tmp_path), "batches", write_batch(str(tmp_path / "batches"), rows, {})["batch"]))


@pytest.fixture
def asked(dataset, job, tiny_checkpoint, batch):
    """A function: compare the tiny network with a candidate."""

    def ask(candidate, out):
        networks = Networks(base=tiny_checkpoint, champion=tiny_checkpoint, candidate=candidate)
        return compare(networks, read_edits([batch.uri]), dataset.videos("train"), [batch], dataset, job, str(out))

    return ask


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_both_are_asked_the_same_and_counted_exactly(ray_cluster, asked, dataset, tiny_checkpoint, other, tmp_path):
    candidate = other(headed)
    found = asked(candidate, tmp_path / "plan")

    videos = dataset.videos("validation")
    assert found.scored.ids == tuple(video.id for video in videos)
    assert found.scored.label_N == tuple(video.label for video in videos)
    assert found.scored.champion_N == hits(tiny_checkpoint, dataset)
    assert found.scored.candidate_N == hits(candidate, dataset)
    leads_N = np.array(found.scored.champion_lead_N)
    assert tuple((leads_N > 0).tolist()) == found.scored.champion_N
    assert found.edited == ("Lifting something up", "Moving something down")
    assert found.health.clips == 2
    assert found.attention.heldout_videos == 1
    # The attention branch is the same, only what follows it has changed.
    assert found.attention.heldout_before == found.attention.heldout_after
    assert found.attention.spread_before == found.attention.spread_after > 0
    assert (found.integrity.finite, found.integrity.extractor_identical) == (True, True)
    assert found.integrity.parameters_before == found.integrity.parameters_after
    assert min(found.integrity.latency_before_ms, found.integrity.latency_after_ms) > 0

    written = json.loads((tmp_path / "plan" / EVIDENCE).read_text())
    assert written == json.loads(json.dumps(to_dict(found)))
    listed = json.loads((tmp_path / "plan" / LIST).read_text())
    assert listed["videos"] == [[video.id, video.label] for video in videos]
    assert asked("another, which is not asked again", tmp_path / "plan") == found


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_candidate_that_is_not_finite_is_right_nowhere(ray_cluster, asked, other, tmp_path):
    def spoil(state):
        next(v for name, v in state.items() if name.startswith("perception.") and name.endswith("weight")).fill_(np.nan)

    found = asked(other(spoil), tmp_path / "plan")
    assert not found.integrity.finite
    assert found.scored.candidate_N == (False,) * 7
    assert (found.scored.champion_lead_N, found.scored.candidate_lead_N) == ((), ())
    assert (found.attention.heldout_after, found.attention.spread_after) == (None, 0.0)


@pytest.mark.parametrize("which", ["weight", "statistic", "counter"])
def test_one_changed_value_of_the_extractor_is_seen(job, tiny_checkpoint, other, which):
    def change(state):
        ends = {"weight": "weight", "statistic": "running_mean", "counter": "num_batches_tracked"}[which]
        name = next(name for name in state if name.startswith("extractor.") and name.endswith(ends))
        state[name].view(-1)[0] += 1

    networks = Networks(base=tiny_checkpoint, champion=tiny_checkpoint, candidate=other(change))
    found = inspect_networks(networks, job)
    assert (found.finite, found.extractor_identical) == (True, False)


def test_a_skipped_step_counts_as_not_finite(job, tiny_checkpoint, other):
    networks = Networks(base=tiny_checkpoint, champion=tiny_checkpoint, candidate=other(headed, skipped=1))
    found = inspect_networks(networks, job)
    assert (found.finite, found.extractor_identical) == (False, True)


def test_the_list_is_written_once_and_kept(dataset, tmp_path):
    uri = str(tmp_path / LIST)
    assert freeze(dataset, "validation", 1, uri) == dataset.videos("validation")
    before = (tmp_path / LIST).stat().st_mtime_ns
    assert freeze(dataset, "validation", 1, uri) == dataset.videos("validation")
    assert (tmp_path / LIST).stat().st_mtime_ns == before
    with pytest.raises(UserError, match="videos to compare on have changed"):
        freeze(dataset, "train", 1, uri)


def test_a_split_without_classes_is_refused(dataset, tmp_path):
    with pytest.raises(UserError, match="No video of the split has a known class"):
        freeze(dataset, "test", 1, str(tmp_path / LIST))


def test_spread_leaves_padding_and_inversions_out(tmp_path):
    rows = [
        {"inversion": "none", "temporal": [0.0, 1.0, 9.0], "valid": [True, True, False]},
        {"inversion": "none", "temporal": [0.5, 0.5, 0.5], "valid": [True, True, True]},
        {"inversion": "both", "temporal": [0.0, 9.0, 0.0], "valid": [True, True, True]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert spread(str(tmp_path / "p.parquet")) == pytest.approx((0.5 + 0.0) / 2)
