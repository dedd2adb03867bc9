"""Batches of streams and attention nets: every video once, the same whatever the workers, maps where they belong."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.microbatch import plan_training
from pipeline.two_stream.extract import MapJob, extract_maps, in_process
from pipeline.two_stream.feed import AttentionFeed, StreamFeed, split_videos
from pipeline.two_stream.maps import MapDataset
from pipeline.two_stream.samples import OTHER, STREAMS, places
from pipeline.two_stream.stages import Places, attention_recipe, stages, stream_recipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
FIELDS = ("x_BGHWC", "map_BGhw", "box_BG4", "index_BG", "label_B")


@pytest.fixture(scope="module")
def runs(tiny, maps_of):
    """Recipes by the name of the stage; both streams' first-round maps exist."""
    by_name = {}
    for stage in stages(tiny):
        checkpoint = maps_of.checkpoints[stage.stream]
        make = attention_recipe if stage.kind == "attention" else stream_recipe
        by_name[stage.name] = make(tiny, stage, maps_of.places, flow_root=tiny.flow_root, checkpoint=checkpoint)
    return by_name


def collected(batches):
    return list(batches)


def same(left, right):
    assert (left.ids, left.step, left.epoch, left.micro, left.samples_in_step) == (
        right.ids,
        right.step,
        right.epoch,
        right.micro,
        right.samples_in_step,
    )
    for name in FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None and b is None) or torch.equal(a, b), name


@pytest.mark.parametrize("name", ["r1-spatial", "r2-temporal"])
def test_every_video_once_an_epoch_and_every_test_video_once(runs, paired, name):
    feed = StreamFeed(replace(runs[name], train=replace(runs[name].train, epochs=2, global_batch=6)))
    batches = collected(feed.train(0, 0, 1))
    for epoch in (0, 1):
        seen = Counter(i for batch in batches if batch.epoch == epoch for i in batch.ids)
        assert seen == Counter(video.id for video in paired.videos("spatial", "train", 1))
    tested = Counter(i for batch in feed.validation(0, 1) for i in batch.ids)
    assert tested == Counter(video.id for video in paired.videos("spatial", "test", 1))
    assert tested.total() == feed.validation_videos
    assert feed.plan.samples == 16


def test_workers_share_out_the_same_batches(runs):
    feed = StreamFeed(runs["r2-spatial"])
    alone = collected(feed.train(0, 0, 1))
    shared = [collected(feed.train(0, rank, 2)) for rank in (0, 1)]
    for whole, *parts in zip(alone, *shared, strict=True):
        assert whole.ids == tuple(i for part in parts for i in part.ids)
        for field in FIELDS:
            assert torch.equal(getattr(whole, field), torch.cat([getattr(part, field) for part in parts]))
    tests = [batch.ids for rank in (0, 1) for batch in feed.validation(rank, 2)]
    assert [i for ids in tests for i in ids] == [i for batch in feed.validation(0, 1) for i in batch.ids]


def test_a_run_goes_on_at_any_step_with_the_batches_it_would_have_had(runs):
    feed = StreamFeed(replace(runs["r1-temporal"], train=replace(runs["r1-temporal"].train, epochs=2)))
    whole, rest = collected(feed.train(0, 0, 1)), collected(StreamFeed(feed._recipe).train(3, 0, 1))
    assert len(rest) == len(whole) - 3
    for left, right in zip(whole[3:], rest, strict=True):
        same(left, right)


@pytest.mark.ray
@pytest.mark.parametrize("name", ["r2-spatial", "attention-temporal"])
def test_batches_through_ray_are_those_made_here(ray_cluster, runs, name):
    recipe, open_feed = runs[name], AttentionFeed if "attention" in name else StreamFeed
    local, feed = open_feed(recipe), open_feed(replace(recipe, compute=replace(recipe.compute, data_cpus=2.0)))
    for one, other in ((local.train(0, 0, 1), feed.train(0, 0, 1)), (local.validation(0, 1), feed.validation(0, 1))):
        for left, right in zip(collected(one), collected(other), strict=True):
            same(left, right)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_is_given_the_maps_of_the_other_at_the_places_it_sees(runs, stream):
    maps = MapDataset.open(runs[f"r2-{stream}"].maps_root)
    assert maps.stream == OTHER[stream]
    feed = StreamFeed(runs[f"r2-{stream}"])
    for batch in feed.train(0, 0, 1):
        for b, video_id in enumerate(batch.ids):
            found, place = maps.of(video_id), int(batch.index_BG[b, 0])
            np.testing.assert_array_equal(batch.map_BGhw[b, 0].numpy(), found.map_Phw[found.places.index(place)])
    assert all(batch.map_BGhw is None for batch in feed.validation(0, 1)), "no map of a test video exists"
    swapped = replace(runs[f"r2-{stream}"], maps_root=runs[f"attention-{stream}"].maps_root)
    with pytest.raises(UserError, match=f"stream {stream} and not {OTHER[stream]}"):
        StreamFeed(swapped)


def test_places_are_drawn_among_those_with_a_map(runs, paired):
    """Stride 2: the drawn number picks from places 0, 2, 4 and so on."""
    recipe = runs["r2-spatial"]
    feed = StreamFeed(replace(recipe, train=replace(recipe.train, epochs=6)))
    frames = {video.id: video.frames for video in paired.videos("spatial", "train", 1)}
    seen = set()
    for batch in feed.train(0, 0, 1):
        for b, video_id in enumerate(batch.ids):
            available = range(0, places(frames[video_id] - 1, 3), 2)
            number = clip_generator(0, batch.epoch, video_id).random()
            assert int(batch.index_BG[b, 0]) == available[int(number * len(available))]
            seen.add(int(batch.index_BG[b, 0]))
    assert {0, 2, 4} <= seen


def test_segments_share_crop_and_flip(tiny, tmp_path):
    network = replace(tiny.network, segments=3, attention_channel=False)
    tsn = replace(tiny, network=network, rounds=tiny.rounds[:1])
    stage = stages(tsn)[1]
    recipe = stream_recipe(tsn, stage, Places(str(tmp_path), "x"), flow_root=tiny.flow_root, checkpoint="")
    feed = StreamFeed(recipe)
    for batch in feed.train(0, 0, 1):
        assert batch.x_BGHWC.shape[1:] == (3, 75, 75, 6)
        assert torch.equal(batch.box_BG4, batch.box_BG4[:, :1].expand(-1, 3, -1))
        assert (batch.index_BG.diff(dim=1) >= 0).all()
        assert batch.map_BGhw is None
    for batch in feed.validation(0, 1):
        assert batch.x_BGHWC.shape[1:] == (3, 75, 75, 6)


@pytest.mark.parametrize("stream", STREAMS)
def test_no_video_is_in_both_parts_of_an_attention_nets_data_and_none_is_a_test_video(runs, paired, stream):
    feed = AttentionFeed(runs[f"attention-{stream}"])
    learnt = {i for batch in feed.train(0, 0, 1) for i in batch.ids}
    checked = {i for batch in feed.validation(0, 1) for i in batch.ids}
    training = {video.id for video in paired.videos(stream, "train", 1)}
    assert not learnt & checked
    assert learnt | checked == training
    assert (len(learnt), len(checked)) == (13, 3)  # 8:2 of 16
    assert not training & {video.id for video in paired.videos(stream, "test", 1)}


def test_the_split_depends_on_the_ids_alone(paired):
    videos = paired.videos("spatial", "train", 1)
    learn, check = split_videos(videos, 0.8)
    again = split_videos(tuple(reversed(paired.videos("temporal", "train", 1))), 0.8)
    assert [[v.id for v in part] for part in again] == [[v.id for v in part] for part in (learn, check)]
    assert [len(part) for part in split_videos(videos[:2], 0.99)] == [1, 1]
    with pytest.raises(UserError, match="cannot be split in two"):
        split_videos(videos[:1], 0.8)


@pytest.mark.parametrize("stream", STREAMS)
def test_an_attention_net_learns_its_own_streams_maps_of_what_it_is_shown(runs, stream):
    recipe = runs[f"attention-{stream}"]
    maps = MapDataset.open(recipe.maps_root)
    assert maps.stream == stream
    for batch in AttentionFeed(recipe).train(0, 0, 1):
        assert torch.equal(batch.box_BG4, torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(batch.ids), 1, 4))
        for b, video_id in enumerate(batch.ids):
            found, place = maps.of(video_id), int(batch.index_BG[b, 0])
            np.testing.assert_array_equal(batch.map_BGhw[b, 0].numpy(), found.map_Phw[found.places.index(place)])


def test_what_does_not_fit_is_refused(runs, tiny, maps_of, tmp_path):
    recipe = runs["r2-spatial"]
    with pytest.raises(UserError, match=r"network\.classes=3"):
        StreamFeed(replace(recipe, model=replace(recipe.model, classes=3)))
    with pytest.raises(UserError, match="split train and not test"):
        StreamFeed(replace(recipe, data=replace(recipe.data, train_split="test", test_split="train")))
    with pytest.raises(UserError, match="There are no maps"):
        StreamFeed(replace(recipe, maps_root=str(tmp_path)))
    with pytest.raises(UserError, match="There is no flow set"):
        StreamFeed(replace(recipe, flow_root=str(tmp_path)))


def test_a_video_that_cannot_be_read_is_named(runs, paired):
    feed = StreamFeed(runs["r1-spatial"])
    loader = replace(feed._training, root="/nowhere")
    plan = next(plan_training(feed._videos, feed.plan, accumulate=1, start_step=0, rank=0, world=1))
    with pytest.raises(UserError, match=f"Video {plan.ids[0]} .* cannot be fed"):
        loader.load(plan)
    other = replace(plan, rows=tuple(row + 1 for row in plan.rows))
    with pytest.raises(UserError, match="cannot be fed"):
        feed._training.load(other)
    assert feed._training.bytes_of(plan) >= sum(a.nbytes for a in feed._training.load(plan).arrays.values())


def test_the_identity_is_that_of_frames_flow_and_maps(runs, maps_of, tiny, tmp_path):
    first, second = StreamFeed(runs["r1-spatial"]).passport, StreamFeed(runs["r2-spatial"]).passport
    assert set(second.parts) - set(first.parts) == {"maps of the temporal stream"}
    job = MapJob(
        root=str(tmp_path / "other"), recipe=runs["r1-temporal"], checkpoint=maps_of.checkpoints["temporal"],
        stride=1, batch=7,
    )  # fmt: skip
    extract_maps(job, in_process)
    third = StreamFeed(replace(runs["r2-spatial"], maps_root=job.root)).passport
    assert third.digest != second.digest
