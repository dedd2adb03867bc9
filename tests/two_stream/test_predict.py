"""Predictions of a system: every video once, every place as often as it counts, and no label on the way."""

import inspect
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.attention_maps import crop_maps
from models.stream import to_input
from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.place import Known
from pipeline.flow import extract
from pipeline.flow.config import FlowConfig
from pipeline.flow.solver import Solver
from pipeline.two_stream import answer, look
from pipeline.two_stream.answer import VARIANTS, Answerer, variants_of
from pipeline.two_stream.look import PLACE_SCHEMA, Entry, Eye, Seen, seen_in
from pipeline.two_stream.networks import load_attention, load_stream
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.pointing import Pointed
from pipeline.two_stream.predict import Merger, TestRun, columns_of, eye_of, map_column, predict, row_schema
from pipeline.two_stream.recipe import Round
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.views import Picture, Place, Viewing, crop


def run_of(system, **changes):
    values = {
        "root": system.root,
        "name": system.name,
        "split": "test",
        "fold": 1,
        "viewing": Viewing(places=3, short_side=80),
        "variants": VARIANTS,
        "actors": 0,
    }
    return TestRun(**values | changes)


def scores(rows):
    return {row["id"]: {name: np.array(row[name]) for name in columns_of(VARIANTS)} for row in rows}


@pytest.fixture(scope="module")
def predicted(paired, random_system):
    return list(predict(paired, random_system, run_of(random_system)))


def entry_of(data, number=0):
    frames, flow = (data.videos(stream, "test", 1)[number] for stream in STREAMS)
    return Entry(frames.id, frames.frames, frames.shard, frames.row, flow.shard, flow.row)


def test_every_video_of_the_split_once_and_in_listed_order(paired, predicted):
    videos = paired.videos("spatial", "test", 1)
    assert [(row["id"], row["label"]) for row in predicted] == [(video.id, video.label) for video in videos]
    for row in predicted:
        for name in columns_of(VARIANTS):
            assert np.sum(row[name]) == pytest.approx(1, abs=1e-5)
        assert len(row["places"]) == 3
    assert set(predicted[0]) == set(row_schema(VARIANTS).names)


def test_each_variant_equals_its_networks_used_by_hand(paired, random_system, predicted):
    """First round with 0.1; last round with the maps of the attention nets, crossed over; last round with 0.1."""
    eye = eye_of(paired, random_system, Viewing(places=3, short_side=80))
    entry = entry_of(paired)
    nets = {
        name: load_stream(random_system.checkpoints[name][0]) for name in random_system.checkpoints if "att" not in name
    }
    attention = {stream: load_attention(random_system.checkpoints[f"attention-{stream}"][0]) for stream in STREAMS}
    times = {place.at: place.times for place in eye.places(entry.frames)}
    total = dict.fromkeys(columns_of(VARIANTS), 0.0)
    with torch.no_grad():
        for at, seen in eye.see(entry):
            pictures = {"spatial": seen.spatial, "temporal": seen.temporal}
            maps = {}
            for stream, one in pictures.items():
                net = nets[f"r1-{stream}"]
                x_BGHWC = torch.from_numpy(one.whole_HWC)[None, None]
                maps[stream] = attention[stream](net.features(to_input(x_BGHWC, 0.1, net.config)[0]))
            for stream, other in (("spatial", "temporal"), ("temporal", "spatial")):
                x_VHWC, region_V4 = crop(pictures[stream].resized_HWC, eye.sights[STREAMS.index(stream)], 1)
                channel = crop_maps(maps[other], torch.from_numpy(region_V4), 75)[None]
                for variant, net, shown in (
                    ("without", nets[f"r1-{stream}"], 0.1),
                    ("with", nets[f"r2-{stream}"], channel),
                    ("blind", nets[f"r2-{stream}"], 0.1),
                ):
                    logits_BK = net(to_input(torch.from_numpy(x_VHWC)[None], shown, net.config)).logits_BK
                    total[f"{variant}_{stream}"] += times[at] * logits_BK.softmax(dim=1)[0].double().numpy() / 3
    row = predicted[0]
    for variant in VARIANTS:
        total[f"{variant}_fused"] = (total[f"{variant}_spatial"] + 1.5 * total[f"{variant}_temporal"]) / 2.5
    for name, expected in total.items():
        np.testing.assert_allclose(row[name], expected, atol=1e-3, err_msg=name)
    assert np.abs(total["with_temporal"] - total["blind_temporal"]).max() > 0.01, "the map must matter in this test"


@pytest.fixture(scope="module")
def other_labels(pair_roots, tmp_path_factory):
    """The same videos with the other class, prepared anew: no shard and no catalog knows the true labels."""
    videos, folder = Path(pair_roots[0]).parent / "videos", tmp_path_factory.mktemp("other")
    listing = load_listing("ucf101", str(videos))
    wrong = replace(listing, records=tuple(replace(record, label=1 - record.label) for record in listing.records))
    settings = PrepareConfig(ingest=IngestConfig(short_side=64, compare=False), shard_videos=7)
    prepare(wrong, str(folder / "frames"), settings, in_process)
    prepared = PreparedDataset.open(str(folder / "frames"))
    tvl1 = PairedData.open(*pair_roots).flow.manifest["settings"]["tvl1"]
    quick = FlowConfig(tvl1=type(FlowConfig().tvl1)(**tvl1), bound=8.0)
    options = extract.ExtractOptions(backends=("opencv",))
    extract.extract(prepared, str(folder / "flow"), quick, extract.in_process(Solver("opencv")), options)
    return PairedData.open(str(folder / "frames"), str(folder / "flow"))


def test_labels_of_test_videos_change_no_prediction(paired, random_system, predicted, other_labels):
    """The true labels are nowhere in this data set, and every probability is the same."""
    rows = list(predict(other_labels, random_system, run_of(random_system)))
    assert [row["label"] for row in rows] == [1 - row["label"] for row in predicted]
    mine, true = scores(rows), scores(predicted)
    assert mine.keys() == true.keys()
    for video in true:
        for name in columns_of(VARIANTS):
            np.testing.assert_array_equal(mine[video][name], true[video][name])


def test_nothing_that_goes_to_the_networks_can_carry_a_label():
    words = ("label", "target", "class", "truth")
    names = [*PLACE_SCHEMA.names, *(f.name for f in fields(Entry)), *(f.name for f in fields(Seen))]
    names += [*(f.name for f in fields(Eye)), *inspect.signature(Answerer.answer).parameters]
    assert not [name for name in names if any(word in name for word in words)]
    for module in (look, answer):
        assert "grad_cam" not in inspect.getsource(module)


def test_ten_crops_are_the_mean_over_the_crops(paired, random_system):
    viewing = Viewing(places=1, crops=10, short_side=90)
    eye = eye_of(paired, random_system, viewing)
    ((_, seen),) = list(eye.see(entry_of(paired)))
    whole = Answerer(random_system, VARIANTS, 10, at_once=7).answer([seen])
    crops_V = [
        crop(one.resized_HWC, sight, 10) for one, sight in zip((seen.spatial, seen.temporal), eye.sights, strict=True)
    ]
    two = random_system.two_stream()
    singles = []
    for v in range(10):
        x, flow = (torch.from_numpy(x_VHWC[v])[None, None] for x_VHWC, _ in crops_V)
        boxes = torch.from_numpy(crops_V[0][1][v])[None, None]
        wholes = {
            "whole_rgb_BGHWC": torch.from_numpy(seen.spatial.whole_HWC)[None, None],
            "whole_flow_BGHWC": torch.from_numpy(seen.temporal.whole_HWC)[None, None],
        }
        singles.append(two(x, flow, box_BG4=boxes, **wholes).temporal_BK[0].numpy())
    np.testing.assert_allclose(whole.probabilities["with", "temporal"][0], np.mean(singles, axis=0), atol=1e-4)
    assert np.ptp(singles, axis=0).max() > 1e-4


def test_flow_of_another_shape_is_matched_by_its_share_of_the_frame(paired, random_system):
    """Frames of 2:3 and flow of 1:1: the same centre crop is all of the flow's width and two thirds of the frame's."""
    eye = eye_of(paired, random_system, Viewing(places=1, short_side=75))
    ((_, seen),) = list(eye.see(entry_of(paired)))
    square = np.ascontiguousarray(seen.temporal.resized_HWC[:75, :75])
    seen = Seen(seen.spatial, Picture(seen.temporal.whole_HWC, square))
    found = Answerer(random_system, ("with",)).answer([seen])
    net = load_stream(random_system.checkpoints["r2-temporal"][0])
    channel = crop_maps(torch.from_numpy(found.maps["spatial"]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 75)[None]
    with torch.no_grad():
        logits_BK = net(to_input(torch.from_numpy(square)[None, None], channel, net.config)).logits_BK
    np.testing.assert_allclose(found.probabilities["with", "temporal"], logits_BK.softmax(dim=1).numpy(), atol=1e-4)


def test_pictures_survive_their_way_as_rows(paired, random_system):
    eye = eye_of(paired, random_system, Viewing(places=5, short_side=80))
    entry = entry_of(paired)
    tables = list(look.load([entry], eye, 2))
    assert max(len(table) for table in tables) <= 2
    ways = [seen for table in tables for seen in seen_in(table)]
    for mine, (_, seen) in zip(ways, eye.see(entry), strict=True):
        for stream in STREAMS:
            for part in ("whole_HWC", "resized_HWC"):
                np.testing.assert_array_equal(
                    getattr(getattr(mine, stream), part), getattr(getattr(seen, stream), part)
                )


def test_a_video_in_anothers_place_is_refused(paired, random_system):
    eye, entry = eye_of(paired, random_system, Viewing(places=1, short_side=80)), entry_of(paired)
    other = entry_of(paired, 1)
    with pytest.raises(RuntimeError, match=r"where .* should be"):
        list(eye.see(replace(entry, row=other.row, shard=other.shard)))


def test_a_baseline_is_asked_without_attention_alone(tiny, paired, make_system, tmp_path):
    bare = replace(tiny, rounds=(Round(epochs=1),), network=replace(tiny.network, attention_channel=False))
    system = make_system(str(tmp_path), "bare", bare, paired)
    assert variants_of(bare) == variants_of(replace(tiny, rounds=(Round(epochs=1),))) == ("without",)
    rows = list(predict(paired, system, run_of(system, variants=("without",))))
    assert {"without_spatial", "without_temporal", "without_fused"} < set(rows[0])
    assert not [name for name in rows[0] if name.startswith(("with_", "blind_"))]


def test_attention_learnt_from_the_last_round_keeps_the_first_round_as_it_was(tiny, paired, make_system, tmp_path):
    """With attention.source=last the system's first networks are the last round's; "without" is still round 1."""
    recipe = replace(tiny, attention=replace(tiny.attention, source="last"))
    system = make_system(str(tmp_path), "last", recipe, paired)
    eye = eye_of(paired, system, Viewing(places=1, short_side=80))
    ((_, seen),) = list(eye.see(entry_of(paired)))
    found = Answerer(system, ("without", "blind")).answer([seen])
    net = load_stream(system.checkpoints["r1-spatial"][0])
    x_VHWC, _ = crop(seen.spatial.resized_HWC, eye.sights[0], 1)
    with torch.no_grad():
        expected = net(to_input(torch.from_numpy(x_VHWC)[None], 0.1, net.config)).logits_BK.softmax(dim=1)
    np.testing.assert_allclose(found.probabilities["without", "spatial"], expected.numpy(), atol=1e-5)
    assert not found.maps


def place(video, at, spatial, temporal):
    return {"id": video, "at": at, "without_spatial": spatial, "without_temporal": temporal}


def merger(random_system, **places):
    return Merger(places, run_of(random_system, variants=("without",)))


def test_a_place_weighs_as_often_as_it_counts(random_system):
    joined = merger(random_system, a=(Place(0, 2), Place(3, 1)))
    assert not list(joined.add(place("a", 3, [0.1, 0.9], [0.0, 1.0])))
    (row,) = joined.add(place("a", 0, [0.7, 0.3], [1.0, 0.0]))
    np.testing.assert_allclose(row["without_spatial"], [0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(row["without_temporal"], [2 / 3, 1 / 3], atol=1e-6)
    np.testing.assert_allclose(row["without_fused"], [(0.5 + 1.5 * 2 / 3) / 2.5, (0.5 + 1.5 / 3) / 2.5], atol=1e-6)
    assert row["places"] == [0, 0, 3]
    joined.reconcile()


def test_places_that_nobody_asked_for_or_that_come_twice_are_refused(random_system):
    answer = place("a", 0, [1.0, 0.0], [1.0, 0.0])
    for wrong in ({**answer, "at": 1}, {**answer, "id": "b"}):
        with pytest.raises(RuntimeError, match="is not expected"):
            list(merger(random_system, a=(Place(0, 1),)).add(wrong))
    joined = merger(random_system, a=(Place(0, 1),))
    list(joined.add(answer))
    with pytest.raises(RuntimeError, match="is not expected"):
        list(joined.add(answer))


def test_a_video_without_an_answer_is_noticed(random_system):
    joined = merger(random_system, a=(Place(0, 1),), b=(Place(0, 1), Place(1, 1)))
    list(joined.add(place("a", 0, [1.0, 0.0], [1.0, 0.0])))
    list(joined.add(place("b", 0, [1.0, 0.0], [1.0, 0.0])))
    with pytest.raises(RuntimeError, match="1 of 2 videos were predicted; missing: b"):
        joined.reconcile()


def test_a_gpu_that_is_not_there_is_refused(random_system, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="A GPU was asked for"):
        Answerer(random_system, VARIANTS, gpu=True)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")
def test_ray_gives_what_this_process_gives(ray_cluster, paired, random_system, predicted):
    rows = list(predict(paired, random_system, run_of(random_system, batch=4, actors=1)))
    assert [row["id"] for row in rows] == [row["id"] for row in predicted]
    mine, expected = scores(rows), scores(predicted)
    for video in expected:
        for name in columns_of(VARIANTS):
            np.testing.assert_allclose(mine[video][name], expected[video][name], atol=1e-4)
    with pytest.raises(UserError, match=r"too few CPUs.*--actors"):
        predict(paired, random_system, run_of(random_system, actors=9))


def test_kept_maps_are_those_that_the_networks_exchange(paired, random_system, predicted):
    rows = list(predict(paired, random_system, run_of(random_system, keep_maps=True)))
    assert scores(rows).keys() == scores(predicted).keys()
    for kept, plain in zip(rows, predicted, strict=True):
        for name in columns_of(VARIANTS):
            assert np.array_equal(kept[name], plain[name]), name
    eye, entry = eye_of(paired, random_system, Viewing(places=3, short_side=80)), entry_of(paired)
    answerer = Answerer(random_system, VARIANTS, at_once=16)
    places = sorted({place.at for place in eye.places(entry.frames)})
    for number, (at, seen) in enumerate(eye.see(entry)):
        assert at == places[number]
        expected = answerer.answer([seen]).maps
        for stream in STREAMS:
            np.testing.assert_allclose(rows[0][map_column(stream)][number], expected[stream][0], atol=1e-5)


def test_maps_are_compared_with_the_place_of_the_object_and_leave_the_rows():
    left = np.array([[0.0, 0.0, 0.5, 1.0]], np.float32)
    known = {"v": Known(np.array([True, False, True]), [left] * 3)}
    on_it, beside = [[0.9, 0.1]], [[0.2, 0.6]]
    row = {"id": "v", "places": [0, 0, 1, 2]}
    maps = {"spatial": [on_it, beside, on_it], "temporal": [beside, on_it, on_it]}
    pointed = Pointed(known)
    row |= {map_column(stream): np.array(map_Phw, np.float32) for stream, map_Phw in maps.items()}
    assert list(pointed.watch([row])) == [{"id": "v", "places": [0, 0, 1, 2]}]
    found = pointed.found()
    assert (found["spatial"].auc.value, found["temporal"].auc.value) == (1.0, 0.5)
    assert found["spatial"].mass.value == pytest.approx(0.9)
    assert found["temporal"].mass.value == pytest.approx((0.25 + 0.9) / 2)
    list(pointed.watch([row | {"id": "w", **{map_column(s): np.zeros((3, 1, 2)) for s in STREAMS}}]))
    with pytest.raises(UserError, match="does not fit video w"):
        pointed.found()
