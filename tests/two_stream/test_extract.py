"""Maps of training videos against an independent Grad-CAM; what is redone and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.flow.store import decode_stack, read_flow
from pipeline.two_stream import extract
from pipeline.two_stream.extract import MapJob, extract_maps, in_process
from pipeline.two_stream.extract_ray import on_ray
from pipeline.two_stream.maps import MapDataset
from pipeline.two_stream.networks import load_stream
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.stages import stages, stream_recipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

SHARDS = 3
"""With training videos; the fourth has test videos alone."""


def job_of(tiny, maps_of, root, name="r1-spatial", **changes):
    stage = next(stage for stage in stages(tiny) if stage.name == name)
    recipe = stream_recipe(tiny, stage, maps_of.places, flow_root=tiny.flow_root, checkpoint="")
    checkpoint = maps_of.checkpoints[stage.stream]
    return MapJob(
        **({"root": str(root), "recipe": recipe, "checkpoint": checkpoint, "stride": 2, "batch": 5} | changes)
    )


def refuse(tasks, tell):
    raise AssertionError(f"there should be no work, but shards {[task.number for task in tasks]} are to do")


def content(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


def whole(paired, stream, video, place):
    """What the network is to see, decoded and resized here: the whole frame, or the stack, of a place."""
    if stream == "spatial":
        x_HWC = decode_frames(read_video(paired.prepared.root, video.shard, video.row), [place])[0]
    else:
        x_HWC = decode_stack(read_flow(paired.flow.root, video.shard, video.row), place, 3)
    return np.dstack([cv2.resize(np.ascontiguousarray(x_HWC[..., c]), (75, 75)) for c in range(x_HWC.shape[2])])


@pytest.mark.parametrize("stream", STREAMS)
def test_maps_are_the_grad_cam_of_the_true_class_of_the_whole_frame(tiny, paired, maps_of, stream):
    """By hooks and autograd on a forward pass of its own, with 0.1 in the last channel."""
    maps = MapDataset.open(maps_of.places.folder(f"r1-{stream}-maps"))
    net = load_stream(maps_of.checkpoints[stream])
    kept = []
    net.trunk.Mixed_7c.register_forward_hook(lambda module, inputs, output: kept.append(output))
    for video in paired.videos(stream, "train", 1)[:4]:
        found = maps.of(video.id)
        for place, map_hw in zip(found.places, found.map_Phw, strict=True):
            pixels_CHW = torch.from_numpy(whole(paired, stream, video, place)).permute(2, 0, 1)
            x_CHW = torch.cat([(pixels_CHW / 255 - 0.5) / 0.5, torch.full((1, 75, 75), 0.1)])
            score = net(x_CHW[None, None]).segment_logits_BGK[0, 0, video.label]
            (gradient,) = torch.autograd.grad(score, kept[-1])
            cam = (gradient.mean((2, 3), keepdim=True) * kept[-1]).sum(1)[0].relu()
            expected = (cam / (cam.max() + 1e-8)).detach().numpy()
            np.testing.assert_allclose(map_hw.astype(np.float32), expected, atol=2e-3)


def test_every_second_place_of_every_training_video_and_of_no_other_has_a_map(tiny, paired, maps_of):
    maps = MapDataset.open(maps_of.places.folder("r1-temporal-maps"))
    videos = paired.videos("temporal", "train", 1)
    assert set(maps.rows) == {video.id for video in videos}
    for video in videos:
        pairs = video.frames - 1
        assert maps.of(video.id).places == tuple(range(0, max(pairs - 3, 0) + 1, 2))
    assert maps.manifest["counts"]["maps"] == sum(len(maps.of(video.id).places) for video in videos)


def test_maps_of_test_videos_are_refused(tiny, maps_of, tmp_path):
    job = job_of(tiny, maps_of, tmp_path / "m")
    data = replace(job.recipe.data, train_split="test")
    with pytest.raises(UserError, match="made from labels, and these are of test videos"):
        extract_maps(replace(job, recipe=replace(job.recipe, data=data)), refuse)
    assert content(tmp_path) == {}


def test_what_is_there_stays_and_what_a_kill_left_out_is_done(tiny, maps_of, tmp_path):
    whole_root, root = tmp_path / "whole", tmp_path / "killed"
    report = extract_maps(job_of(tiny, maps_of, whole_root), in_process)
    assert (report.shards_done, report.shards_kept) == (SHARDS, 0)

    def killed(tasks, tell):
        in_process(tasks[:2], tell)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_maps(job_of(tiny, maps_of, root), killed)
    with pytest.raises(UserError, match="There are no maps"):
        MapDataset.open(str(root))
    # A shard whose sidecar was never written does not count.
    sorted((root / "shards").glob("*.json"))[1].unlink()
    again = extract_maps(job_of(tiny, maps_of, root), in_process)
    assert (again.shards_done, again.shards_kept) == (2, 1)
    assert content(root) == content(whole_root)
    assert again.passport == report.passport
    extract_maps(job_of(tiny, maps_of, root), refuse)


def test_another_network_means_other_maps(tiny, maps_of, write_checkpoint, tmp_path):
    root = tmp_path / "m"
    job = job_of(tiny, maps_of, root)
    first = extract_maps(job, in_process)
    other = write_checkpoint(tmp_path / "net", job.recipe, seed=9)
    second = extract_maps(replace(job, checkpoint=other), in_process)
    assert second.shards_done == SHARDS
    assert second.passport != first.passport
    assert len(list((root / "shards").iterdir())) == 2 * SHARDS, "nothing of the first is left"


def test_maps_do_not_depend_on_how_images_are_batched(tiny, maps_of, tmp_path):
    extract_maps(job_of(tiny, maps_of, tmp_path / "a", batch=3), in_process)
    a, b = MapDataset.open(str(tmp_path / "a")), MapDataset.open(maps_of.places.folder("r1-spatial-maps"))
    for video_id in a.rows:
        left, right = a.of(video_id).map_Phw.astype(np.float32), b.of(video_id).map_Phw.astype(np.float32)
        np.testing.assert_allclose(left, right, atol=2e-3)


def test_a_later_rounds_network_sees_the_other_streams_maps(tiny, maps_of, tmp_path):
    plain = extract_maps(job_of(tiny, maps_of, tmp_path / "a"), in_process)
    beside = extract_maps(job_of(tiny, maps_of, tmp_path / "b", "r2-spatial"), in_process)
    assert plain.passport != beside.passport
    a, b = MapDataset.open(str(tmp_path / "a")), MapDataset.open(str(tmp_path / "b"))
    assert a.manifest["beside"] == "0.1 everywhere"
    assert b.manifest["beside"] == MapDataset.open(maps_of.places.folder("r1-temporal-maps")).passport
    with pytest.raises(UserError, match=r"maps\.stride=1, the other stream's 2"):
        extract_maps(job_of(tiny, maps_of, tmp_path / "c", "r2-spatial", stride=1), refuse)


def test_a_checkpoint_that_changes_meanwhile_is_refused(tiny, maps_of, write_checkpoint, tmp_path):
    job = job_of(tiny, maps_of, tmp_path / "m")
    folder = write_checkpoint(tmp_path / "net", job.recipe, seed=1)

    def engine(tasks, tell):
        shutil.rmtree(folder)
        write_checkpoint(tmp_path / "net", job.recipe, seed=2)
        in_process(tasks, tell)

    with pytest.raises(UserError, match="The checkpoint has changed"):
        extract_maps(replace(job, checkpoint=folder), engine)


@pytest.mark.ray
@pytest.mark.parametrize("data_cpus", [0.0, 1.0])
def test_actors_make_the_same_maps(ray_cluster, tiny, maps_of, tmp_path, data_cpus):
    job = job_of(tiny, maps_of, tmp_path / "ray")
    compute = replace(job.recipe.compute, workers=2, data_cpus=data_cpus)
    told = []
    job = replace(job, recipe=replace(job.recipe, compute=compute))
    extract_maps(job, on_ray, lambda done, total: told.append((done, total)))
    extract_maps(job_of(tiny, maps_of, tmp_path / "here"), in_process)
    assert content(tmp_path / "ray") == content(tmp_path / "here")
    assert len(told) == SHARDS
    assert told[-1][0] == told[-1][1]


@pytest.mark.ray
def test_more_actors_than_the_cluster_holds_are_refused(ray_cluster, tiny, maps_of, tmp_path):
    job = job_of(tiny, maps_of, tmp_path / "m")
    compute = replace(job.recipe.compute, workers=4, cpus_per_worker=2.0)
    with pytest.raises(UserError, match="too few CPUs"):
        extract_maps(replace(job, recipe=replace(job.recipe, compute=compute)), on_ray)


def test_a_task_is_known_by_all_that_its_maps_depend_on(tiny, maps_of, tmp_path):
    (first, *_), _ = extract.plan_maps(job_of(tiny, maps_of, tmp_path))
    again, _ = extract.plan_maps(job_of(tiny, maps_of, tmp_path, batch=9))
    other, _ = extract.plan_maps(job_of(tiny, maps_of, tmp_path, stride=3))
    assert first.key == again[0].key
    assert first.key != other[0].key
