"""Plans of micro-batches hold every entry once, and loading one equals loading its clips one by one."""

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import AugmentConfig, ClipConfig, ViewConfig
from pipeline.data.feed.clips import load_clip, load_views, views_of
from pipeline.data.feed.microbatch import ClipLoader, plan_training, plan_views
from pipeline.data.feed.plan import Plan
from pipeline.data.records import EncodedVideo, PreparedVideo
from pipeline.data.store.shards import Codec, encode_frame, write_shard

CLIP = ClipConfig(frames=3, size=16, short_side=20)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(0)
    videos = []
    for number in range(5):
        frames = rng.integers(0, 256, (2 + number, 20, 26, 3), dtype=np.uint8)
        jpeg_V = tuple(memoryview(encode_frame(frame, Codec())) for frame in frames)
        videos.append(EncodedVideo(f"v{number}", number % 2, 12.0, 20, 26, jpeg_V))
    with open(root / "a.arrow", "wb") as file:
        write_shard(file, videos)
    return str(root), videos, [PreparedVideo(v.id, v.label, len(v.jpeg_V), "a.arrow", i) for i, v in enumerate(videos)]


def test_training_plans_start_at_the_step_and_partition_it(stored):
    plan = Plan(seed=0, samples=5, global_batch=4, epochs=2)
    kwargs = {"accumulate": 1, "world": 2}
    ranks = [list(plan_training(stored[2], plan, start_step=1, rank=rank, **kwargs)) for rank in (0, 1)]
    for micros in ranks:
        assert [micro.step for micro in micros] == [1, 2, 3]
        assert [micro.epoch for micro in micros] == [0, 1, 1]
    for g in (1, 2, 3):
        ids = [video_id for micros in ranks for micro in micros if micro.step == g for video_id in micro.ids]
        assert ids == [f"v{i}" for i in plan.step(g).samples]
        assert all(micro.samples_in_step == len(ids) for micros in ranks for micro in micros if micro.step == g)


def test_the_order_of_the_list_is_not_the_order_of_the_run(stored):
    """A run resumes in mid-epoch on videos listed in another order: same passport, so it must be the same plan."""
    listed = stored[2]
    plan = Plan(seed=3, samples=5, global_batch=2, epochs=3)
    kwargs = {"accumulate": 1, "rank": 0, "world": 1}
    undisturbed = list(plan_training(listed, plan, start_step=0, **kwargs))
    for other in (listed[::-1], [listed[i] for i in (2, 0, 4, 1, 3)]):
        assert list(plan_training(other, plan, start_step=0, **kwargs)) == undisturbed
        resumed = [*undisturbed[:4], *plan_training(other, plan, start_step=4, **kwargs)]
        second_epoch = [video_id for micro in resumed if micro.epoch == 1 for video_id in micro.ids]
        assert sorted(second_epoch) == [video.id for video in listed]


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 4, 100])
def test_view_plans_hold_every_view_once_in_order(stored, world, batch):
    micros = [m for rank in range(world) for m in plan_views(stored[2], 3, batch=batch, rank=rank, world=world)]
    entries = [entry for micro in micros for entry in zip(micro.ids, micro.rows, micro.views, strict=True)]
    assert entries == [(f"v{i}", i, view) for i in range(5) for view in range(3)]
    assert all(1 <= len(micro.ids) == micro.samples_in_step <= batch for micro in micros)


def test_a_loaded_micro_batch_is_its_clips(stored):
    root, videos, prepared = stored
    loader = ClipLoader(root=root, clip=CLIP, seed=4, augment=AugmentConfig(), flip_map=(1, 0))
    plan = Plan(seed=4, samples=5, global_batch=5, epochs=2)
    for micro in plan_training(prepared, plan, accumulate=2, start_step=0, rank=0, world=1):
        batch = loader.load(micro)
        arrays = batch.arrays
        for b, row in enumerate(micro.rows):
            kwargs = {"seed": 4, "epoch": micro.epoch, "augment": AugmentConfig(), "flip_map": (1, 0)}
            clip = load_clip(videos[row], CLIP, **kwargs)
            assert np.array_equal(arrays["x_BTHWC"][b], clip.x_THWC)
            assert arrays["label_B"][b] == clip.label
            assert np.array_equal(arrays["idx_BT"][b], clip.idx_T)
            assert np.array_equal(arrays["valid_BT"][b], clip.valid_T)
        assert loader.bytes_of(micro) == arrays["x_BTHWC"].nbytes


def test_views_cut_by_the_end_of_a_batch_are_the_same_views(stored):
    root, videos, prepared = stored
    views = views_of(ViewConfig(clips=2, crops=3))
    loader = ClipLoader(root=root, clip=CLIP, views=views)
    loaded = [loader.load(micro) for micro in plan_views(prepared, len(views), batch=4, rank=0, world=1)]
    expected = [clip.x_THWC for video in videos for clip in load_views(video, CLIP, views)]
    assert np.array_equal(np.concatenate([batch.arrays["x_BTHWC"] for batch in loaded]), np.stack(expected))


def test_a_row_that_is_not_there_is_named(stored):
    root, _, prepared = stored
    absent = [PreparedVideo("v9", 0, 2, "a.arrow", 9), *prepared[1:]]
    loader = ClipLoader(root=root, clip=CLIP, views=views_of(ViewConfig()))
    with pytest.raises(UserError, match=r"Video v9 \(row 9 of a.arrow\) cannot be fed.*IndexError"):
        loader.load(next(plan_views(absent, 1, batch=1, rank=0, world=1)))
