"""The analytic flow is the motion of the pixels that are drawn, and encoded files hold what was drawn."""

import dataclasses

import av
import cv2
import numpy as np
import pytest

from pipeline.data.synth.config import PRESETS
from pipeline.data.synth.encode import CODECS, write_frames, write_video
from pipeline.data.synth.render import optical_flow, render_frame
from pipeline.data.synth.scene import ACTIONS, draw_scene

CONFIG = dataclasses.replace(PRESETS["demo"], frames=(10, 20))


def seen_again(scene, frame):
    """Grey levels by which frame + 1, followed along the flow (or along no flow), differs from frame; edges left out.

    The outer pixels and everything within two pixels of a step in the flow are left out: occlusion has no flow.
    """
    before, after = (render_frame(scene, f).astype(np.float32) for f in (frame, frame + 1))
    flow_HW2 = optical_flow(scene, frame)
    y_HW, x_HW = np.mgrid[: scene.height, : scene.width].astype(np.float32)
    followed = cv2.remap(after, x_HW + flow_HW2[..., 0], y_HW + flow_HW2[..., 1], cv2.INTER_CUBIC)
    to_x, to_y = x_HW + flow_HW2[..., 0], y_HW + flow_HW2[..., 1]
    inside = (to_x > 2) & (to_x < scene.width - 3) & (to_y > 2) & (to_y < scene.height - 3)
    step = np.abs(cv2.Laplacian(flow_HW2, cv2.CV_32F)).max(-1) > 0.05
    landing = np.zeros(step.shape, np.uint8)
    landing[
        to_y[step].round().clip(0, scene.height - 1).astype(int),
        to_x[step].round().clip(0, scene.width - 1).astype(int),
    ] = 1
    near = cv2.dilate(step.astype(np.uint8), np.ones((7, 7))) | cv2.dilate(landing, np.ones((9, 9)))
    keep = inside & (near == 0)
    assert keep.mean() > 0.4
    return np.abs(followed - before)[keep].mean(), np.abs(after - before)[keep].mean()


@pytest.mark.parametrize("label", range(len(ACTIONS)), ids=[action.text for action in ACTIONS])
def test_following_the_flow_finds_the_same_pixels(label):
    errors = []
    for n in range(6):
        scene = draw_scene(CONFIG, label, (11, n))
        frame = int(np.flatnonzero(scene.active_V)[0]) - 1 if scene.active_V[1:].any() else 0
        errors.append(seen_again(scene, max(frame, 0)))
    along, without = np.mean(errors, axis=0)
    # Under zoom the octaves of the backdrop fade in and out, which no flow explains.
    assert along < (4.0 if ACTIONS[label].moved == "zoom" else 1.0)
    assert along < 0.5 * without


def test_flow_of_a_still_scene_is_zero():
    scene = draw_scene(dataclasses.replace(CONFIG, shake=0.0, sway=0.0), len(ACTIONS) - 1, (0, 0))
    assert not optical_flow(scene, 3).any()


def test_flow_of_an_object_is_its_step():
    config = dataclasses.replace(CONFIG, shake=0.0, sway=0.0)
    scene = draw_scene(config, 0, (0, 4))
    frame = int(np.flatnonzero(scene.active_V)[0])
    step = scene.things[-1].centre_V2[frame + 1] - scene.things[-1].centre_V2[frame]
    flow_HW2 = optical_flow(scene, frame)
    moving = flow_HW2.any(-1)
    assert moving.any()
    np.testing.assert_allclose(flow_HW2[moving], np.broadcast_to(step, (moving.sum(), 2)), rtol=1e-5)


def test_the_backdrop_looks_alike_one_octave_on():
    """Zoom is a circle: statistics of an octave-zoomed backdrop do not drift."""
    config = dataclasses.replace(CONFIG, distractors=0, widths=(96,), heights=(96,))
    roughness = {0.0: [], 1.0: [], 3.0: []}
    for n in range(60):
        scene = draw_scene(config, len(ACTIONS) - 1, (6, n))
        for zoom, values in roughness.items():
            zoomed = dataclasses.replace(scene, things=(), zoom_V=scene.zoom_V + zoom)
            frame = render_frame(zoomed, 0).astype(float)
            values.append((frame.std(), np.abs(np.diff(frame, axis=1)).mean()))
    at = {zoom: np.mean(values, axis=0) for zoom, values in roughness.items()}
    np.testing.assert_allclose(at[1.0], at[0.0], rtol=0.1)
    np.testing.assert_allclose(at[3.0], at[0.0], rtol=0.1)


@pytest.mark.parametrize("suffix", CODECS)
def test_encoded_videos_hold_the_frames_and_are_the_same_bytes_again(tmp_path, suffix):
    scene = draw_scene(CONFIG, 0, (0, 1))
    frames = [render_frame(scene, frame) for frame in range(scene.frames)]
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        write_video(path, frames, scene.fps)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with av.open(str(paths[0])) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == scene.fps
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == len(frames)
    error = np.mean((np.array(decoded, float) - np.array(frames, float)) ** 2)
    assert 10 * np.log10(255**2 / error) > 28  # dB


def test_frame_folders_are_numbered_from_one(tmp_path):
    scene = draw_scene(CONFIG, 0, (0, 1))
    write_frames(tmp_path / "7", [render_frame(scene, frame) for frame in range(3)])
    assert sorted(p.name for p in (tmp_path / "7").iterdir()) == ["00001.jpg", "00002.jpg", "00003.jpg"]
    read = cv2.imread(str(tmp_path / "7" / "00002.jpg"))[..., ::-1]
    assert np.abs(read.astype(int) - render_frame(scene, 1)).mean() < 6
