"""The benchmark tells maps that know where planted evidence lies from maps that do not; every clip is counted once."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from models import ModelConfig, StAbn
from pipeline.data.config import ClipConfig
from pipeline.data.feed.clips import load_clip
from pipeline.data.feed.place import Place
from pipeline.data.records import PreparedVideo
from pipeline.data.store.catalog import Passport
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.eval import place, report, truth
from pipeline.eval.compare import Paired
from pipeline.eval.faithful import KINDS, judge, measure, spread, summarise
from pipeline.eval.load import Recogniser, load
from pipeline.eval.metrics import Interval
from pipeline.eval.place import Known
from pipeline.eval.predict import PredictJob
from pipeline.eval.protocol import protocol_of
from pipeline.train.recipe import Recipe

FRAMES, SIZE, GRID = 8, 32, 8
GAIN, BIAS = 9.0, 1.5
NOTHING = truth.Agreement(0, 40, Interval(0, 0, 0), Interval(0, 0, 0))
FAR, NEAR = slice(2, 5), slice(2, 4)
"""Where evidence is planted: three of eight frames, two of eight rows and columns of the grid."""


class Knows(nn.Module):
    """An attention branch that knows where the evidence is planted, or points everywhere else."""

    def __init__(self, right):
        super().__init__()
        self.right = right

    def forward(self, f_BCTHW, temporal=None, spatial=None):
        batch = len(f_BCTHW)
        when_BT, where_B1THW = torch.zeros(batch, FRAMES), torch.zeros(batch, 1, FRAMES, GRID, GRID)
        when_BT[:, FAR] = 1
        where_B1THW[:, :, :, NEAR, NEAR] = 1
        if not self.right:
            when_BT, where_B1THW = 1 - when_BT, 1 - where_B1THW
        return torch.zeros(batch, 2), where_B1THW, when_BT[:, None, :, None, None]


class Features(nn.Module):
    """The features themselves, out of what the attention mechanism made of them: its temporal half says nothing."""

    def forward(self, both_BCTHW):
        return self.f


class Adds(nn.Module):
    """Logits 0 and GAIN * (sum of the first channel, 1 for all the evidence) - BIAS."""

    def forward(self, f_BCTHW):
        total_B = f_BCTHW[:, 0].sum(dim=(1, 2, 3)) / (3 * 4 * (255 - 123.675) / 58.395)
        return torch.stack([torch.zeros_like(total_B), GAIN * total_B - BIAS], dim=1)


def planted(right=True):
    """ST-ABN whose parts can be followed by hand, ready to answer."""
    model = StAbn.__new__(StAbn)
    nn.Module.__init__(model)
    model.config = ModelConfig(depth=10, classes=2, frames=FRAMES)
    model.extractor, model.attention, model.merge = nn.AvgPool3d((1, 4, 4)), Knows(right), Features()
    model.perception = Adds()
    model.extractor.register_forward_hook(lambda module, inputs, output: setattr(model.merge, "f", output))
    recipe = Recipe(name="p", clip=ClipConfig(frames=FRAMES, size=SIZE, short_side=SIZE), model=model.config)
    names = {"passport": Passport("p", {}), "step": 0, "run_id": "", "checkpoint": "c", "precision": "fp32"}
    return Recogniser(model=model.eval(), recipe=recipe, classes=("a", "b"), device=torch.device("cpu"), **names)


def clips(count):
    """Grey clips with a white patch where the evidence belongs; 124 is ImageNet's mean red, rounded."""
    x_BTHWC = np.full((count, FRAMES, SIZE, SIZE, 3), 124, np.uint8)
    x_BTHWC[:, FAR, 8:16, 8:16] = 255
    facts = [{"id": f"v{b}", "idx": list(range(FRAMES)), "valid": [True] * FRAMES} for b in range(count)]
    return x_BTHWC, facts


@cache
def rows_of(count, right=True):
    return judge(planted(right), *clips(count), batch=5, steps=FRAMES)


def probability(share):
    return 1 / (1 + np.exp(-(GAIN * np.asarray(share) - BIAS)))


def test_curves_of_true_maps_are_known_in_closed_form():
    """Frames: the first three steps hold a third of the evidence each. Pixels: a quarter of them holds it all."""
    row = next(row for row in rows_of(1) if row["method"] == "attention")
    grey = (124 - 123.675) / (255 - 123.675)  # of white: what a place says that is not quite the mean colour
    held_T = np.array([4 + 60 * grey] * 3 + [64 * grey] * 5) / 12  # places of a frame: 64, of which 4 may be white
    after = np.concatenate([[0.0], np.cumsum(held_T)])
    np.testing.assert_allclose(row["frames_insertion"], probability(after), atol=1e-4)
    np.testing.assert_allclose(row["frames_deletion"], probability(after[-1] - after), atol=1e-4)
    inserted = np.asarray(row["pixels_insertion"])
    assert inserted[0] == pytest.approx(probability(0), abs=1e-4)
    np.testing.assert_allclose(inserted[2:], probability(1), atol=1e-3)
    assert row["predicted"] == 1


def test_maps_that_know_beat_chance_and_maps_that_mislead_lose_to_it():
    for right in (True, False):
        found = summarise(rows_of(12, right), FRAMES).curves["attention"]
        for units, mode in KINDS:
            better = found[units, mode].against_random
            low_is_good = mode == "deletion"
            if right == low_is_good:
                assert better.high < 0, (units, mode, right)
            else:
                assert better.low > 0, (units, mode, right)


def test_grad_cam_finds_the_evidence_of_a_network_that_adds_it_up():
    found = summarise(rows_of(12), FRAMES).curves
    for kind in KINDS:
        assert found["grad_cam"][kind].area.value == pytest.approx(found["attention"][kind].area.value, abs=0.03)
    assert found["random"][KINDS[0]].against_random is None


def test_every_curve_begins_and_ends_at_the_clip_and_the_canvas():
    rows = rows_of(2)
    assert [(row["id"], row["method"]) for row in rows] == [
        (video, method) for video in ("v0", "v1") for method in ("attention", "grad_cam", "random")
    ]
    for row in rows:
        for units, mode in KINDS:
            ends = row[f"{units}_{mode}"][[0, -1]]
            expected = probability([1, 0] if mode == "deletion" else [0, 1])
            np.testing.assert_allclose(ends, expected, atol=0.01)


def test_means_and_intervals_are_over_clips_and_differences_are_paired():
    rows = rows_of(6)
    benchmark = summarise(rows, FRAMES)
    assert (benchmark.clips, benchmark.steps) == (6, FRAMES)
    areas = {
        method: np.array([np.trapezoid(r["frames_deletion"], dx=1 / FRAMES) for r in rows if r["method"] == method])
        for method in benchmark.curves
    }
    curve = benchmark.curves["grad_cam"]["frames", "deletion"]
    assert curve.area.value == pytest.approx(areas["grad_cam"].mean())
    assert curve.against_random.value == pytest.approx((areas["grad_cam"] - areas["random"]).mean())
    assert curve.against_random.low <= curve.against_random.value <= curve.against_random.high
    assert summarise(rows[::-1], FRAMES).curves == benchmark.curves, "the order of the rows means nothing"


def test_the_table_and_the_logged_numbers_say_the_same():
    benchmark = summarise(rows_of(4), FRAMES)
    active = {f"v{b}": np.isin(np.arange(FRAMES), range(FRAMES)[FAR]) for b in range(4)}
    known = {m: truth.compare([r for r in benchmark.rows if r["method"] == m], active) for m in benchmark.curves}
    judged = report.Judged(benchmark=benchmark, when=known)
    table, flat = report.explanations_table(judged), report.explanations_flat(judged, "eval/v/8")
    assert len(flat) == 3 * 5
    assert flat["eval/v/8/explain/attention/active_frames"] == 1.0
    assert "no boxes of the object" in table
    for units in ("frames", "pixels"):
        line = next(line for line in table.splitlines() if line.startswith(f"{units}, ST-ABN"))
        assert f"{flat[f'eval/v/8/explain/attention/{units}_deletion']:.3f} (" in line
        assert f"{flat[f'eval/v/8/explain/attention/{units}_insertion']:.3f} (" in line
    plain = report.Judged(benchmark=benchmark)
    numbers = report.explanations_metrics(plain)
    assert numbers["methods"]["random"]["frames_deletion"]["area"]["value"] == pytest.approx(
        flat["eval/v/8/explain/random/frames_deletion"]
    )
    assert "truth" not in numbers["methods"]["random"]
    for word in ("active", "inversion", "AUC", "boxes"):
        assert word not in report.explanations_table(plain)


def test_every_method_is_held_against_where_the_object_is():
    box, shown = [np.array([[0.25, 0.25, 0.5, 0.5]], np.float32)], Place(0.0, 0.0, 1.0, 1.0, False)
    active_T = np.isin(np.arange(FRAMES), range(FRAMES)[FAR])
    aucs = []
    for right in (True, False):
        benchmark = summarise(rows_of(40, right), FRAMES)
        where = {
            method: place.point(
                [row for row in benchmark.rows if row["method"] == method],
                {f"v{b}": Known(active_T, box * FRAMES) for b in range(40)},
                {f"v{b}": shown for b in range(40)},
            )
            for method in benchmark.curves
        }
        judged = report.Judged(benchmark=benchmark, when=dict.fromkeys(benchmark.curves, NOTHING), where=where)
        flat = report.explanations_flat(judged, "e")
        aucs.append(flat["e/explain/attention/on_object"])
        assert flat["e/explain/random/on_object"] == pytest.approx(0.5, abs=0.1)
        assert flat["e/explain/grad_cam/on_object"] > 0.9, "it follows the network, not the attention"
        assert "e/explain/attention/active_frames" not in flat, "no clip had both kinds of frame"
        numbers = report.explanations_metrics(judged)["methods"]["attention"]
        assert (numbers["truth"], numbers["truth_where"]["clips"]) == ({"clips": 0}, 40)
        (line,) = [one for one in report.explanations_table(judged).splitlines() if one.startswith("pixels, ST-ABN")]
        assert line.endswith(f"{aucs[-1]:.3f} ({aucs[-1]:.3f} to {aucs[-1]:.3f})")
    assert aucs == [1.0, 0.0]


def test_what_inversion_costs_stands_beside_the_curves():
    benchmark = summarise(rows_of(4), FRAMES)
    drops = {"spatial": Paired(200, 6, 2), "temporal": Paired(200, 30, 10), "both": Paired(200, 50, 0)}
    judged = report.Judged(benchmark=benchmark, drops=drops)
    lines = {line.split("  ")[0]: line for line in report.explanations_table(judged).splitlines()}
    for name, points in (("frames, ST-ABN", "+10.0 ("), ("pixels, ST-ABN", "+2.0 ("), ("both, ST-ABN", "+25.0 (")):
        assert points in lines[name]
    assert not lines["frames, Grad-CAM"].rstrip().endswith("drop")
    assert "+10.0" not in lines["frames, Grad-CAM"]
    assert "200 videos" in report.explanations_table(judged)
    found = report.explanations_metrics(judged)["methods"]["attention"]["inversion_drop"]
    assert (found["both"]["gained"], found["both"]["lost"], found["both"]["videos"]) == (50, 0, 200)
    assert found["temporal"]["difference"]["value"] == pytest.approx(0.1)
    flat = report.explanations_flat(judged, "e")
    assert flat["e/explain/attention/drop_both"] == pytest.approx(25.0)
    alone = report.explanations_table(report.Judged(benchmark=benchmark, drops={"temporal": drops["temporal"]}))
    assert "both, ST-ABN" not in alone


@pytest.mark.parametrize(("videos", "count", "expected"), [(9, 3, [0, 4, 8]), (3, 8, [0, 1, 2]), (5, 1, [0])])
def test_clips_are_spread_over_the_split(videos, count, expected):
    listed = [PreparedVideo(f"v{i}", 0, 8, "s", i) for i in range(videos)]
    assert [video.row for video in spread(listed, count)] == expected


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
@pytest.mark.parametrize("arch", ["st_abn", "baseline"])
def test_actors_measure_what_this_process_does(ray_cluster, tiny_root, make_checkpoint, arch):
    checkpoint = make_checkpoint(arch)
    network, dataset = load(checkpoint, threads=1), PreparedDataset.open(tiny_root)
    clip = network.recipe.clip
    job = PredictJob(
        checkpoint=checkpoint, split="validation", fold=1, protocol=protocol_of(clip, "8x2"), batch=3, actors=2
    )
    benchmark = measure(dataset, job, clips=4, steps=4)
    videos = spread(dataset.videos("validation"), 4)
    methods = ["attention", "grad_cam", "random"][arch == "baseline" :]
    assert [(row["id"], row["method"]) for row in benchmark.rows] == [(v.id, m) for v in videos for m in methods]
    for group in (videos[:3], videos[3:]):  # a batch of another size rounds otherwise, and pixels change places
        clips = [load_clip(read_video(tiny_root, video.shard, video.row), clip) for video in group]
        facts = [{"id": one.id, "idx": one.idx_T.tolist(), "valid": one.valid_T.tolist()} for one in clips]
        here = judge(network, np.stack([one.x_THWC for one in clips]), facts, batch=3, steps=4)
        there = [row for row in benchmark.rows if row["id"] in {video.id for video in group}]
        for mine, theirs in zip(here, there, strict=True):
            assert theirs["idx"] == mine["idx"]
            for units, mode in KINDS:
                np.testing.assert_allclose(theirs[f"{units}_{mode}"], mine[f"{units}_{mode}"], atol=1e-6)
