"""What is shown of a video is what the networks see and say, and the sheet shows all of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.grad_cam import grad_cam
from models.stream import to_input
from pipeline.core.errors import UserError
from pipeline.data.records import HIDDEN_LABEL
from pipeline.explain.colour import overlay, resized
from pipeline.flow.quantise import encode
from pipeline.two_stream.answer import Answerer
from pipeline.two_stream.explain import LAYERS, VideoExplainer, entry_of, some_videos
from pipeline.two_stream.figures import CAPTION, HEADER, MARGIN, NAMES, TILE, draw_attention, draw_layers, flow_colours
from pipeline.two_stream.networks import load_stream
from pipeline.two_stream.predict import eye_of
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.views import Viewing


@pytest.fixture(scope="module")
def eye(paired, random_system):
    return eye_of(paired, random_system, Viewing(places=3, short_side=80))


@pytest.fixture(scope="module")
def explained(paired, random_system, eye):
    return VideoExplainer(random_system, eye, paired).explain(some_videos(paired, "test", 1, 1)[0])


def test_the_layers_are_asked_about_the_predicted_class(explained, random_system, paired, eye):
    assert explained.asked == int(explained.scores_K.argmax())
    entry, _ = entry_of(paired, explained.id)
    for stream in STREAMS:
        net = load_stream(random_system.checkpoints[f"r1-{stream}"][0])
        for p, (_, seen) in enumerate(eye.see(entry)):
            x_NCHW = to_input(torch.from_numpy(getattr(seen, stream).whole_HWC)[None, None], 0.1, net.config)[0]
            maps = grad_cam(net, x_NCHW, torch.tensor([explained.asked]), LAYERS)
            for layer in LAYERS:
                np.testing.assert_allclose(explained.layers[stream, layer][p], maps[layer][0].numpy(), atol=1e-3)


def test_the_streams_attention_is_that_of_a_test(explained, random_system, paired, eye):
    entry, label = entry_of(paired, explained.id)
    answer = Answerer(random_system, ("with",)).answer([seen for _, seen in eye.see(entry)])
    for stream in STREAMS:
        np.testing.assert_allclose(explained.attention[stream], answer.maps[stream], atol=1e-5)
    spatial_K, temporal_K = (answer.probabilities["with", stream].mean(axis=0) for stream in STREAMS)
    np.testing.assert_allclose(explained.scores_K, (spatial_K + 1.5 * temporal_K) / 2.5, atol=1e-5)
    assert explained.label == label


def test_a_person_may_ask_about_another_class(paired, random_system, eye, explained):
    other = VideoExplainer(random_system, eye, paired).explain(explained.id, asked=1 - explained.asked)
    assert other.asked != explained.asked
    np.testing.assert_array_equal(other.scores_K, explained.scores_K)
    with pytest.raises(UserError, match="There is no such video"):
        VideoExplainer(random_system, eye, paired).explain("nobody")


def test_some_videos_are_of_several_classes(paired):
    labels = {video.id: video.label for video in paired.videos("spatial", "test", 1)}
    chosen = some_videos(paired, "test", 1, 3)
    assert len(set(chosen)) == 3
    assert {labels[chosen[0]], labels[chosen[1]]} == {0, 1}


def moving(explained, *motions):
    """The same video with known motion at its places: pixels to the right and downwards."""
    shape = explained.stacks_P[0].shape
    stacks = [encode(np.broadcast_to(np.array(m * (shape[2] // 2), np.float32), shape), 8.0) for m in motions]
    return replace(explained, stacks_P=stacks, at_P=tuple(range(len(motions))), bound=8.0)


def test_hue_is_the_direction_brightness_the_speed_and_black_is_rest(explained):
    right, left, down, still, slow = (
        picture[0, 0].astype(int)
        for picture in flow_colours(moving(explained, (4.0, 0.0), (-4.0, 0.0), (0.0, 4.0), (0.0, 0.0), (0.7, 0.0)))
    )
    assert right.argmax() == 0
    assert right[0] == 255
    assert left[0] < 20  # cyan, opposite to red
    assert left[1] > 200
    assert down.argmax() == 1  # a quarter turn on: between yellow and green
    assert still.tolist() == [0, 0, 0]
    assert 100 < slow[0] < 155


def width_of(explained):
    height, width = explained.frames_P[0].shape[:2]
    return round(width * TILE / height)


def shown(sheet, row, place, wide, gaps=0):
    """The picture in a row of a sheet; `gaps` blocks come before it."""
    y, x = MARGIN + HEADER + CAPTION + row * (TILE + 6) + gaps * 14, MARGIN + NAMES + place * (wide + 6)
    return sheet[y : y + TILE, x : x + wide]


def test_a_sheet_shows_every_place_in_every_row(explained):
    sheet, flow, wide = draw_attention(explained, "tiny"), flow_colours(explained), width_of(explained)
    for p in range(3):
        small = resized(explained.frames_P[p], TILE, wide)
        np.testing.assert_array_equal(shown(sheet, 0, p, wide), small)
        np.testing.assert_array_equal(shown(sheet, 1, p, wide), overlay(small, explained.attention["temporal"][p]))
        small = resized(flow[p], TILE, wide)
        np.testing.assert_array_equal(shown(sheet, 2, p, wide, 1), small)
        np.testing.assert_array_equal(shown(sheet, 3, p, wide, 1), overlay(small, explained.attention["spatial"][p]))


def test_layers_of_both_streams_are_shown(explained):
    sheet, wide = draw_layers(explained), width_of(explained)
    small = resized(explained.frames_P[2], TILE, wide)
    for row, (stream, layer) in enumerate([(s, layer) for s in STREAMS for layer in LAYERS]):
        found = shown(sheet, row + 1 + row // 3, 2, wide, row // 3)
        np.testing.assert_array_equal(found, overlay(small, explained.layers[stream, layer][2]))


def test_one_place_and_a_hidden_label_still_make_a_sheet(explained):
    one = replace(explained, at_P=explained.at_P[:1], frames_P=explained.frames_P[:1], label=HIDDEN_LABEL)
    one = replace(one, stacks_P=explained.stacks_P[:1])
    maps = {stream: map_Phw[:1] for stream, map_Phw in explained.attention.items()}
    assert draw_attention(replace(one, attention=maps)).shape[1] >= 900
