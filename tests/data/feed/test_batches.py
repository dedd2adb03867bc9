"""The feed gives every worker its part of the plan, the same through Ray Data as in this process, from any step on."""

import shutil
import tempfile
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import ray
import torch

from pipeline.core.errors import UserError
from pipeline.data.config import AugmentConfig, ClipConfig, DataConfig, ViewConfig
from pipeline.data.feed import batches as feed
from pipeline.data.feed import stream
from pipeline.data.feed.plan import Plan
from pipeline.data.records import HIDDEN_LABEL, EncodedVideo
from pipeline.data.store.catalog import QUARANTINED, READABLE, CatalogRow
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import Codec, encode_frame, write_shard

CLASSES = ("push left", "push right", "jump")
CLIP = ClipConfig(frames=4, size=24, short_side=32)
TRAIN, TEST, PER_SHARD = 23, 7, 3
TENSORS = ("x_BTHWC", "label_B", "idx_BT", "valid_BT")

# Ray's own modules use names that Ray deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def video(number):
    """Lengths 2 to 9, so that some are shorter than a clip; a pattern that no other video and frame has."""
    rng = np.random.default_rng(number)
    base = cv2.resize(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8), (44, 32))
    jpeg_V = tuple(memoryview(encode_frame(np.roll(base, 3 * v, 1), Codec())) for v in range(2 + number % 8))
    return EncodedVideo(f"v{number:02d}", number % 3, 12.0, 32, 44, jpeg_V)


def prepared(root, hidden=False):
    """Three videos a shard, so that a shard's absence shows which samples are read; one video in quarantine."""
    (root / "shards").mkdir()
    rows = []
    for start in range(0, TRAIN + TEST, PER_SHARD):
        videos = [video(number) for number in range(start, min(start + PER_SHARD, TRAIN + TEST))]
        with open(root / "shards" / f"{start}.arrow", "wb") as file:
            write_shard(file, videos)
        for row, one in enumerate(videos):
            split = ("train" if start + row < TRAIN else "test",)
            place = {"shard": f"shards/{start}.arrow", "row": row, "frames": len(one.jpeg_V)}
            label = HIDDEN_LABEL if hidden else one.label
            rows.append(CatalogRow(id=one.id, path=one.id, label=label, split=split, status=READABLE, **place))
    rows.insert(5, CatalogRow(id="bad", path="bad", label=0, split=("train",), status=QUARANTINED, reason="empty"))
    return PreparedDataset(str(root), "made", CLASSES, "passport", {}, tuple(rows))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("prepared"))


def plan_of(global_batch=5, epochs=2, seed=3):
    return Plan(seed=seed, samples=TRAIN, global_batch=global_batch, epochs=epochs)


RAY = {"data_cpus": 1.0, "prefetch": 2}


def training(**changes):
    return feed.TrainingRequest(**({"data": DataConfig(), "clip": CLIP, "augment": AugmentConfig()} | changes))


def viewing(**changes):
    views = ViewConfig(clips=2, crops=3)
    return feed.ViewsRequest(**({"split": "test", "clip": CLIP, "views": views, "batch": 4} | changes))


def facts(batch):
    return (batch.ids, batch.step, batch.epoch, batch.micro, batch.samples_in_step)


def assert_same(batches, others):
    assert [facts(batch) for batch in batches] == [facts(other) for other in others]
    for batch, other in zip(batches, others, strict=True):
        for name in TENSORS:
            assert torch.equal(getattr(batch, name), getattr(other, name)), (name, facts(batch))


def global_samples(batches):
    """Samples by step: id -> (pixels, label, indices, mask), whatever worker or micro-batch they came in."""
    steps = {}
    for batch in batches:
        for b, video_id in enumerate(batch.ids):
            sample = tuple(getattr(batch, name)[b].numpy().tobytes() for name in TENSORS)
            assert steps.setdefault(batch.step, {}).setdefault(video_id, sample) is sample, "a sample came twice"
    return steps


@pytest.fixture(scope="module")
def cluster():
    home = tempfile.mkdtemp(prefix="feed-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=4,
        _temp_dir=home,
        dashboard_port=8391,
        object_store_memory=200 << 20,
        log_to_driver=False,
    )
    yield
    ray.shutdown()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def short_segments(monkeypatch):
    """Many segments of several tasks of several micro-batches within a few dozen samples."""
    monkeypatch.setattr(stream, "TASK_CLIPS", 4)
    monkeypatch.setattr(stream, "SEGMENT_TASKS", 3)


# --- in this process


def test_an_epoch_holds_every_readable_video_once():
    """On the plan's side; the feed's side is below, on every number of workers."""
    plan = plan_of()
    assert [len(plan.step(g).samples) for g in range(plan.steps_per_epoch)] == [5, 5, 5, 4, 4]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_any_number_of_workers_feeds_the_same_global_batches(dataset, accumulate):
    def run(world):
        return [
            batch
            for rank in range(world)
            for batch in feed.local_train_batches(
                dataset, plan_of(), training(rank=rank, world=world, accumulate=accumulate)
            )
        ]

    alone = global_samples(run(1))
    ids = {row.id for row in dataset.rows if row.split == ("train",) and row.status == READABLE}
    assert len(ids) == TRAIN
    for epoch in (0, 1):
        seen = [video_id for g in range(5 * epoch, 5 * epoch + 5) for video_id in alone[g]]
        assert sorted(seen) == sorted(ids)
    for world in (2, 3) if accumulate == 1 else (2,):
        assert global_samples(run(world)) == alone


def test_batches_say_where_they_belong(dataset):
    batches = list(feed.local_train_batches(dataset, plan_of(), training(accumulate=2, world=2, rank=1)))
    assert [(batch.step, batch.micro) for batch in batches] == [(g, m) for g in range(10) for m in (0, 1)]
    assert [batch.epoch for batch in batches] == [0] * 10 + [1] * 10
    assert [batch.samples_in_step for batch in batches[::2]] == [5, 5, 5, 4, 4] * 2
    for batch in batches:
        count = len(batch.ids)
        assert batch.x_BTHWC.shape == (count, 4, 24, 24, 3)
        assert batch.x_BTHWC.dtype == torch.uint8
        assert (batch.label_B.shape, batch.label_B.dtype) == ((count,), torch.int64)
        assert (batch.idx_BT.shape, batch.idx_BT.dtype) == ((count, 4), torch.int32)
        assert (batch.valid_BT.shape, batch.valid_BT.dtype) == ((count, 4), torch.bool)


def test_the_mask_marks_the_padding_of_short_videos(dataset):
    lengths = {row.id: row.frames for row in dataset.rows}
    for batch in feed.local_train_batches(dataset, plan_of(), training()):
        for b, video_id in enumerate(batch.ids):
            assert int(batch.valid_BT[b].sum()) == min(lengths[video_id], 4)
            assert int(batch.idx_BT[b].max()) < lengths[video_id]


def test_labels_are_swapped_exactly_where_pixels_are_flipped(dataset):
    still = AugmentConfig(crop="center", brightness=0, contrast=0, saturation=0, hue=0)
    labels = {row.id: row.label for row in dataset.rows}
    swapped = {0: 1, 1: 0, 2: 2}
    for flip, expected in [(0.0, labels), (1.0, {i: swapped.get(label) for i, label in labels.items()})]:
        augment = AugmentConfig(**{**still.__dict__, "flip": flip})
        for batch in feed.local_train_batches(dataset, plan_of(), training(augment=augment)):
            assert batch.label_B.tolist() == [expected[video_id] for video_id in batch.ids]
    never = DataConfig(flip_pairs="none")
    augment = AugmentConfig(**{**still.__dict__, "flip": 1.0})
    for batch in feed.local_train_batches(dataset, plan_of(), training(augment=augment, data=never)):
        assert batch.label_B.tolist() == [labels[video_id] for video_id in batch.ids]


@pytest.mark.parametrize("world", [1, 2, 3, 9])
def test_every_test_view_comes_once_in_listed_order(dataset, world):
    ranks = [list(feed.local_test_batches(dataset, viewing(world=world, rank=r))) for r in range(world)]
    ids = [video_id for batches in ranks for batch in batches for video_id in batch.ids]
    assert ids == [f"v{number:02d}" for number in range(TRAIN, TRAIN + TEST) for _ in range(6)]
    for batches in ranks:
        assert all(len(batch.ids) == 4 for batch in batches[:-1])
        assert all(len(batch.ids) == batch.samples_in_step for batch in batches)
        assert [batch.step for batch in batches] == list(range(len(batches)))
        assert len({video_id for batch in batches for video_id in batch.ids}) in (TEST // world, TEST // world + 1)
    whole = list(feed.local_test_batches(dataset, viewing()))
    for name in TENSORS:
        parts = [getattr(batch, name) for batches in ranks for batch in batches]
        assert torch.equal(torch.cat(parts), torch.cat([getattr(batch, name) for batch in whole]))


def without_consumed_shards(home, start_step):
    """A data set that lacks every shard of which only steps before `start_step` use videos, and the whole feed."""
    whole, plan = prepared(home), plan_of(epochs=1)
    full = list(feed.local_train_batches(whole, plan, training()))
    place = {row.id: row.shard for row in whole.rows if row.split == ("train",)}
    needed = {place[video_id] for batch in full[start_step:] for video_id in batch.ids}
    consumed = set(place.values()) - needed - {""}
    assert consumed, "this seed leaves no shard over"
    # Elsewhere, since this process still has the shards open.
    root = home.with_name(f"{home.name}-copy")
    shutil.copytree(home, root)
    for shard in consumed:
        (root / shard).unlink()
    return replace(whole, root=str(root)), plan, full


def test_a_resumed_run_never_opens_what_was_consumed(tmp_path_factory):
    dataset, plan, full = without_consumed_shards(tmp_path_factory.mktemp("resume"), 4)
    assert_same(list(feed.local_train_batches(dataset, plan, training(start_step=4))), full[4:])
    with pytest.raises(UserError, match="cannot be fed"):
        list(feed.local_train_batches(dataset, plan, training()))


def test_a_video_that_cannot_be_read_is_named(tmp_path):
    dataset = prepared(tmp_path)
    (tmp_path / "shards" / "6.arrow").unlink()
    with pytest.raises(UserError, match=r"Video v0[678] \(row [012] of shards/6.arrow\) cannot be fed"):
        list(feed.local_train_batches(dataset, plan_of(), training()))
    rows = tuple(CatalogRow(**{**row.__dict__, "row": 0}) if row.row == 1 else row for row in dataset.rows)
    stale = PreparedDataset(dataset.root, "made", CLASSES, "passport", {}, rows)
    with pytest.raises(UserError, match="the shard holds video"):
        list(feed.local_test_batches(stale, viewing()))


def test_impossible_requests_are_refused_before_anything_is_read(dataset, tmp_path):
    with pytest.raises(UserError, match=r"a plan of 22 samples.*23, the readable videos"):
        feed.local_train_batches(dataset, Plan(seed=0, samples=22, global_batch=4, epochs=1), training())
    with pytest.raises(UserError, match="fewer clips than micro-batches"):
        feed.local_train_batches(dataset, plan_of(), training(world=5))
    with pytest.raises(UserError, match="23 of split train"):
        feed.local_train_batches(prepared(tmp_path, hidden=True), plan_of(), training())
    with pytest.raises(UserError, match="Mirrored test crops"):
        feed.local_test_batches(dataset, viewing(views=ViewConfig(crops=10)))
    free = PreparedDataset(dataset.root, "made", ("a", "b", "c"), "passport", {}, dataset.rows)
    ten = list(feed.local_test_batches(free, viewing(views=ViewConfig(crops=10))))
    assert sum(len(batch.ids) for batch in ten) == 10 * TEST


def test_enlarged_test_frames_are_said_once(dataset, tmp_path, caplog):
    for stored, times in ((32, 0), (24, 1)):
        known = replace(dataset, root=str(tmp_path / str(stored)), manifest={"short_side": stored})
        for _ in range(2):
            feed.local_test_batches(known, viewing())
        assert caplog.text.count(f"with a short side of {stored}, so test frames are enlarged to") == times


# --- through Ray Data


@pytest.mark.ray
@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (1, 3), (2, 2), (3, 1)])
def test_ray_feeds_what_this_process_feeds(cluster, short_segments, dataset, world, accumulate):
    for rank in range(world):
        request = training(rank=rank, world=world, accumulate=accumulate)
        local = list(feed.local_train_batches(dataset, plan_of(), request))
        assert_same(list(feed.train_batches(dataset, plan_of(), request, **RAY)), local)


@pytest.mark.ray
def test_ray_resumes_from_any_step(cluster, dataset):
    full = list(feed.local_train_batches(dataset, plan_of(), training(accumulate=2)))
    for start in (0, 1, 4, 5, 9, 10):
        tail = list(feed.train_batches(dataset, plan_of(), training(accumulate=2, start_step=start), **RAY))
        assert_same(tail, [batch for batch in full if batch.step >= start])


@pytest.mark.ray
@pytest.mark.parametrize("world", [1, 2])
def test_ray_tests_what_this_process_tests(cluster, short_segments, dataset, world):
    for rank in range(world):
        request = viewing(rank=rank, world=world)
        local = list(feed.local_test_batches(dataset, request))
        assert_same(list(feed.test_batches(dataset, request, **RAY)), local)


@pytest.mark.ray
def test_two_feeds_run_at_a_time(cluster, short_segments, dataset):
    """As when a worker validates while its training feed waits, or two workers share a machine."""
    results = {}

    def consume(rank):
        request = training(rank=rank, world=2)
        results[rank] = list(feed.train_batches(dataset, plan_of(), request, **RAY))

    threads = [threading.Thread(target=consume, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in (0, 1):
        assert_same(results[rank], list(feed.local_train_batches(dataset, plan_of(), training(rank=rank, world=2))))


@pytest.mark.ray
def test_batches_own_their_memory(cluster, dataset):
    batches = feed.train_batches(dataset, plan_of(), training(), **RAY)
    first = next(batches)
    kept = first.x_BTHWC.clone()
    rest = list(batches)
    assert torch.equal(first.x_BTHWC, kept), "later batches did not reuse its memory"
    first.x_BTHWC.zero_()
    assert_same(rest, list(feed.local_train_batches(dataset, plan_of(), training()))[1:])


@pytest.mark.ray
def test_ray_never_opens_what_was_consumed(cluster, tmp_path_factory):
    dataset, plan, full = without_consumed_shards(tmp_path_factory.mktemp("resume"), 4)
    resumed = feed.train_batches(dataset, plan, training(start_step=4), **RAY)
    assert_same(list(resumed), full[4:])


@pytest.mark.ray
def test_a_failure_in_a_task_names_the_video_where_the_plan_reaches_it(cluster, tmp_path):
    dataset, plan = prepared(tmp_path), plan_of(epochs=1)
    expected = list(feed.local_train_batches(dataset, plan, training()))
    place = {row.id: row.shard for row in dataset.rows}
    shard = place[expected[2].ids[0]]
    reached = next(batch.step for batch in expected if any(place[video_id] == shard for video_id in batch.ids))
    (tmp_path / shard).unlink()
    (tmp_path / shard).write_bytes(b"damaged")
    got = []
    with pytest.raises(UserError, match=rf"Video v\d\d \(row . of {shard}\) cannot be fed. A shard cannot be read"):
        got.extend(feed.train_batches(dataset, plan, training(), **RAY))
    assert_same(got, expected[:reached])


@pytest.mark.ray
def test_a_consumer_that_stops_early_leaves_nothing_running(cluster, short_segments, dataset):
    before = {thread.name for thread in threading.enumerate()}
    batches = feed.train_batches(dataset, plan_of(epochs=30), training(), **RAY)
    for _ in range(7):
        next(batches)
    assert {thread.name for thread in threading.enumerate()} - before, "something ran"
    batches.close()
    for thread in threading.enumerate():
        if thread.name not in before and ("StreamingExecutor" in thread.name or thread.name.startswith("feed")):
            thread.join(timeout=20)
            assert not thread.is_alive(), thread.name
    assert list(feed.train_batches(dataset, plan_of(), training(start_step=9), **RAY))


@pytest.mark.ray
@pytest.mark.slow
def test_tasks_run_beside_the_bundles_of_training_workers(cluster, dataset, tmp_path):
    """Two workers hold two of four CPUs in a placement group; tasks captured by it would wait there for ever."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def loop(config):
        context = ray.train.get_context()
        request = training(rank=context.get_world_rank(), world=context.get_world_size())
        batches = list(feed.train_batches(config["dataset"], config["plan"], request, **RAY))
        torch.save([batch.__dict__ for batch in batches], tmp_path / f"{request.rank}.pt")

    TorchTrainer(
        loop,
        train_loop_config={"dataset": dataset, "plan": plan_of()},
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(name="feed", storage_path=str(tmp_path / "runs")),
    ).fit()
    for rank in (0, 1):
        got = [feed.Batch(**values) for values in torch.load(tmp_path / f"{rank}.pt", weights_only=True)]
        assert_same(got, list(feed.local_train_batches(dataset, plan_of(), training(rank=rank, world=2))))


@pytest.mark.ray
def test_the_drivers_own_data_context_is_left_alone(cluster, dataset):
    context = ray.data.DataContext.get_current()
    before = (context.execution_options.preserve_order, context.target_max_block_size, context.enable_progress_bars)
    list(feed.train_batches(dataset, plan_of(), training(start_step=8), **RAY))
    context = ray.data.DataContext.get_current()
    after = (context.execution_options.preserve_order, context.target_max_block_size, context.enable_progress_bars)
    assert after == before
    assert before[0] is False
