"""No single frame of a synthetic video tells its class; the motion does, in the direction that the label names."""

import dataclasses
import functools

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.feed.flip import flip_map
from pipeline.data.synth.config import PRESETS, SynthConfig
from pipeline.data.synth.render import render_frame
from pipeline.data.synth.scene import ACTIONS, COLOURS, draw_scene, used_classes

CONFIG = PRESETS["demo"]
STILL = dataclasses.replace(CONFIG, shake=0.0)
INDEX = {action.text: k for k, action in enumerate(ACTIONS)}


def phases(scene, frame):
    """What a frame shows of every circle, in turns: place, angle, zoom of the object and a distractor's place."""
    main, distractor = scene.things[-1], scene.things[0]
    size = np.array([scene.width, scene.height])
    return np.concatenate(
        [
            ((scene.wrapped(main)[frame] + main.radius / 2) / (size + main.radius)),
            ((scene.wrapped(distractor)[frame] + distractor.radius / 2) / (size + distractor.radius)),
            [main.angle_V[frame] / (2 * np.pi) % 1, scene.zoom_V[frame] % 1],
        ]
    )


def linear_accuracy(x_ND, label_N):
    """Held-out accuracy of one-against-all ridge regression, fitted on the first two thirds."""
    x_ND = np.column_stack([(x_ND - x_ND.mean(0)) / (x_ND.std(0) + 1e-9), np.ones(len(x_ND))])
    cut = 2 * len(x_ND) // 3
    gram = x_ND[:cut].T @ x_ND[:cut] + 10.0 * np.eye(x_ND.shape[1])
    weight = np.linalg.solve(gram, x_ND[:cut].T @ np.eye(label_N.max() + 1)[label_N[:cut]])
    return float(((x_ND[cut:] @ weight).argmax(1) == label_N[cut:]).mean())


def four_sigma(chance, trials):
    return 4 * np.sqrt(chance * (1 - chance) / trials)


WHEN = {"first": lambda scene: 0, "middle": lambda scene: scene.frames // 2, "last": lambda scene: scene.frames - 1}


@functools.cache
def balanced_scenes():
    """2,400 scenes of the demo's classes in turn, with their labels."""
    labels = np.arange(2400) % CONFIG.classes
    return labels, [draw_scene(CONFIG, int(label), (7, n)) for n, label in enumerate(labels)]


@pytest.mark.parametrize("label", range(len(ACTIONS)), ids=[action.text for action in ACTIONS])
def test_the_state_of_a_frame_is_uniform_whatever_the_class(label):
    draws = 500
    scenes = [draw_scene(CONFIG, label, (label, n)) for n in range(draws)]
    rank_N = (np.arange(draws) + 0.5) / draws
    for when, frame_of in WHEN.items():
        x_ND = np.stack([phases(scene, frame_of(scene)) for scene in scenes])
        distance_D = np.abs(np.sort(x_ND, axis=0) - rank_N[:, None]).max(axis=0)
        # Kolmogorov-Smirnov, one-sample: 13 classes x 6 circles x 3 moments, one in 80,000 for each.
        assert (distance_D < 2.45 / np.sqrt(draws)).all(), (when, distance_D)


@pytest.mark.parametrize("when", WHEN)
def test_a_linear_classifier_of_the_true_state_stays_at_chance(when):
    labels, scenes = balanced_scenes()
    turns_ND = 2 * np.pi * np.stack([phases(scene, WHEN[when](scene)) for scene in scenes])
    facts_ND = [[scene.frames, scene.fps, scene.width, scene.height, *scene.backdrop] for scene in scenes]
    chance = 1 / CONFIG.classes
    accuracy = linear_accuracy(np.column_stack([np.cos(turns_ND), np.sin(turns_ND), facts_ND]), labels)
    assert abs(accuracy - chance) < four_sigma(chance, 800)


def test_the_same_classifier_reads_two_frames_at_once():
    """The test above can fail: what changes between the first and the last frame gives most classes away."""
    labels, scenes = balanced_scenes()
    change_ND = np.stack([phases(scene, scene.frames - 1) - phases(scene, 0) for scene in scenes])
    turns_ND = 2 * np.pi * change_ND
    assert linear_accuracy(np.column_stack([np.cos(turns_ND), np.sin(turns_ND)]), labels) > 0.5


def test_pixels_of_a_middle_frame_stay_at_chance():
    config = SynthConfig(widths=(64,), heights=(64,))
    labels = np.arange(900) % config.classes
    scenes = [draw_scene(config, int(label), (3, n)) for n, label in enumerate(labels)]
    frames = np.stack([render_frame(scene, scene.frames // 2) for scene in scenes]).astype(float)
    pooled_ND = frames.reshape(len(frames), 8, 8, 8, 8, 3).mean(axis=(2, 4)).reshape(len(frames), -1)
    assert abs(linear_accuracy(pooled_ND, labels) - 1 / config.classes) < four_sigma(1 / config.classes, 300)


def test_the_label_changes_one_circle_and_nothing_else():
    for n in range(20):
        scenes = [draw_scene(STILL, label, (1, n)) for label in range(len(ACTIONS))]
        holding = scenes[INDEX["Holding something"]]
        for action, scene in zip(ACTIONS, scenes, strict=True):
            same_camera = np.array_equal(scene.shift_V2, holding.shift_V2)
            same_zoom = np.array_equal(scene.zoom_V, holding.zoom_V)
            same_angle = np.array_equal(scene.things[-1].angle_V, holding.things[-1].angle_V)
            carried_V2 = scene.things[-1].centre_V2 - scene.shift_V2
            same_place = np.allclose(carried_V2, holding.things[-1].centre_V2 - holding.shift_V2)
            moved = {
                "camera": not same_camera,
                "zoom": not same_zoom,
                "angle": not same_angle,
                "object": not same_place,
            }
            assert [kind for kind, yes in moved.items() if yes] == [action.moved] * (action.moved != "nothing")
            assert (scene.fps, scene.height, scene.width, scene.frames, scene.backdrop) == (
                (holding.fps, holding.height, holding.width, holding.frames, holding.backdrop)
            )
            assert [(t.shape, t.colour, t.radius) for t in scene.things] == [
                (t.shape, t.colour, t.radius) for t in holding.things
            ]


@pytest.mark.parametrize(
    ("text", "axis", "sign"),
    [
        ("Pulling something from left to right", 0, 1),
        ("Pulling something from right to left", 0, -1),
        ("Moving something up", 1, -1),
        ("Moving something down", 1, 1),
    ],
)
def test_the_object_goes_where_the_label_says_while_active_and_rests_otherwise(text, axis, sign):
    for n in range(20):
        scene = draw_scene(STILL, INDEX[text], (5, n))
        step_V2 = np.diff(scene.things[-1].centre_V2, axis=0)
        touches_V = scene.active_V[1:] | scene.active_V[:-1]
        assert (sign * step_V2[touches_V, axis] > 0).all()
        assert (step_V2[~touches_V] == 0).all()
        assert (step_V2[:, 1 - axis] == 0).all()
        side = (scene.width, scene.height)[axis]
        assert STILL.travel[0] * 0.7 < abs(step_V2[:, axis].sum()) / side <= STILL.travel[1] + 1e-9


@pytest.mark.parametrize(
    ("text", "value", "sign"),
    [
        ("Turning the camera left while filming something", lambda s: s.shift_V2[:, 0], 1),
        ("Turning the camera right while filming something", lambda s: s.shift_V2[:, 0], -1),
        ("Turning the camera upwards while filming something", lambda s: s.shift_V2[:, 1], 1),
        ("Turning the camera downwards while filming something", lambda s: s.shift_V2[:, 1], -1),
        ("Approaching something with your camera", lambda s: s.zoom_V, 1),
        ("Moving away from something with your camera", lambda s: s.zoom_V, -1),
        ("Turning something clockwise", lambda s: s.things[-1].angle_V, 1),
        ("Turning something counterclockwise", lambda s: s.things[-1].angle_V, -1),
    ],
)
def test_camera_zoom_and_angle_follow_the_label(text, value, sign):
    scene = draw_scene(STILL, INDEX[text], (5, 0))
    assert sign * (value(scene)[-1] - value(scene)[0]) > 0


def test_nothing_is_active_in_a_video_of_holding():
    assert not draw_scene(CONFIG, INDEX["Holding something"], (0, 0)).active_V.any()


def test_a_flip_has_a_label_for_every_class():
    texts = [action.text for action in ACTIONS]
    mirrored = flip_map(texts)
    pairs = {frozenset((texts[k], texts[other])) for k, other in enumerate(mirrored) if other != k}
    assert min(mirrored) >= 0
    assert {tuple(sorted(pair)) for pair in pairs} == {
        ("Pulling something from left to right", "Pulling something from right to left"),
        ("Turning the camera left while filming something", "Turning the camera right while filming something"),
        ("Turning something clockwise", "Turning something counterclockwise"),
    }


def test_mirrored_pixels_are_a_video_of_the_mirrored_class():
    """Oracle for the flip: in a mirrored film of pulling to the right, the object's centre of mass goes left."""
    config = dataclasses.replace(STILL, distractors=0, clutter=0.0, travel=(0.2, 0.2))
    scene = next(
        s
        for s in (draw_scene(config, INDEX["Pulling something from left to right"], (2, n)) for n in range(99))
        if np.abs(s.wrapped(s.things[-1]) - (s.width / 2, s.height / 2)).max() < 25
    )
    film = [np.abs(render_frame(scene, f).astype(int) - scene.backdrop).sum(-1) for f in (0, scene.frames - 1)]
    at = [(frame * np.arange(scene.width)).sum() / frame.sum() for frame in film]
    mirrored = [(frame[:, ::-1] * np.arange(scene.width)).sum() / frame.sum() for frame in film]
    assert at[1] - at[0] > 10
    assert mirrored[1] - mirrored[0] < -10


def test_impossible_configs_are_refused():
    with pytest.raises(UserError, match="impossible"):
        SynthConfig(widths=(97,))
    with pytest.raises(UserError, match="impossible"):
        SynthConfig(frames=(9, 8))
    with pytest.raises(UserError, match="2 to 13"):
        used_classes(SynthConfig(classes=14))


APPEARANCE = dataclasses.replace(CONFIG, label="appearance")


def test_with_labels_by_appearance_the_class_is_the_main_object_s_colour_and_shape():
    for label, subject in enumerate(used_classes(APPEARANCE)):
        mains = [draw_scene(APPEARANCE, label, (3, n)).things[-1] for n in range(20)]
        assert {f"Showing a {main.colour} {main.shape}" for main in mains} == {subject.text}


def test_with_labels_by_appearance_what_happens_ignores_the_class():
    """The same video of two classes differs in the main object, and in a backdrop that would hide it."""
    one, other = (draw_scene(APPEARANCE, label, (5, 8)) for label in (0, 3))
    assert one.things[-1].shape != other.things[-1].shape
    np.testing.assert_array_equal(one.things[-1].centre_V2, other.things[-1].centre_V2)
    np.testing.assert_array_equal(one.shift_V2, other.shift_V2)
    np.testing.assert_array_equal(one.zoom_V, other.zoom_V)
    kinds = {bool(draw_scene(APPEARANCE, 0, (5, n)).active_V.any()) for n in range(80)}
    assert kinds == {True, False}, "all actions are drawn, holding still too"


def test_with_labels_by_appearance_the_backdrop_never_hides_the_object():
    for label in range(6):
        for n in range(60):
            scene = draw_scene(APPEARANCE, label, (9, n))
            distance = np.linalg.norm(np.subtract(COLOURS[scene.things[-1].colour], scene.backdrop))
            assert distance >= 50, (label, n)


def test_labels_by_appearance_leave_other_draws_as_they_were():
    moving, showing = draw_scene(CONFIG, 0, (5, 8)), draw_scene(APPEARANCE, 0, (5, 8))
    assert (moving.height, moving.width, moving.fps, moving.frames) == (
        *(showing.height, showing.width, showing.fps),
        showing.frames,
    )
    assert [thing.colour for thing in moving.things[:-1]] == [thing.colour for thing in showing.things[:-1]]


def test_more_classes_than_appearances_are_refused():
    with pytest.raises(UserError, match="label=appearance"):
        used_classes(dataclasses.replace(APPEARANCE, classes=7))


DECOYED = dataclasses.replace(STILL, decoy=0.5, active=(0.3, 0.4), distractors=1, sway=0.0)


def test_a_decoy_moves_as_another_class_after_the_action():
    for n in range(60):
        scene = draw_scene(DECOYED, n % CONFIG.classes, (2, n))
        after = int(np.flatnonzero(scene.active_V)[-1]) + 1
        main, sides = scene.things[-1], (scene.width, scene.height)
        # In shares of the sides: the camera's way, and the object's beside it.
        way_VD = np.concatenate([scene.shift_V2 / sides, (main.centre_V2 - scene.shift_V2) / sides], axis=1).round(9)
        action_D, decoy_D = way_VD[after] - way_VD[0], way_VD[-1] - way_VD[after]
        assert np.count_nonzero(action_D) == np.count_nonzero(decoy_D) == 1
        assert np.sign(action_D).tolist() != np.sign(decoy_D).tolist()
        assert scene.active_V[:after].sum() == scene.active_V.sum() == after - np.flatnonzero(scene.active_V)[0]
        length = int(scene.active_V.sum())
        ratio = np.abs(decoy_D).sum() / np.abs(action_D).sum()
        # A first or last frame of the video may lie within a movement, which is then a step short.
        assert 0.5 * length / (length + 1) - 1e-6 <= ratio <= 0.5 * (length + 1) / length + 1e-6


def test_a_frame_of_a_video_with_a_decoy_tells_nothing():
    draws = 500
    rank_N = (np.arange(draws) + 0.5) / draws
    for label in (0, 4):
        scenes = [draw_scene(DECOYED, label, (label, n)) for n in range(draws)]
        for when, frame_of in WHEN.items():
            x_ND = np.stack([phases(scene, frame_of(scene)) for scene in scenes])
            distance_D = np.abs(np.sort(x_ND, axis=0) - rank_N[:, None]).max(axis=0)
            assert (distance_D < 2.45 / np.sqrt(draws)).all(), (when, distance_D)


def test_a_share_of_the_videos_has_a_decoy_whatever_the_class_and_nothing_before_it_tells_which():
    some = dataclasses.replace(DECOYED, decoyed=0.5)
    none = dataclasses.replace(DECOYED, decoyed=1e-9)
    for label in (0, 3, 5):
        have = 0
        for n in range(120):
            scene, calm = draw_scene(some, label, (4, n)), draw_scene(none, label, (4, n))
            np.testing.assert_array_equal(scene.active_V, calm.active_V)
            end = int(np.flatnonzero(scene.active_V)[-1]) + 2
            np.testing.assert_array_equal(moved(scene)[:end], moved(calm)[:end])
            np.testing.assert_array_equal(
                moved(calm)[end:], np.repeat(moved(calm)[end - 1 :][:1], calm.frames - end, 0)
            )
            have += not np.array_equal(moved(scene), moved(calm))
        assert 40 <= have <= 80, (label, have)


def moved(scene):
    """Where camera and main object are, frame by frame."""
    return np.concatenate([scene.shift_V2, scene.things[-1].centre_V2, scene.zoom_V[:, None]], axis=1)


def test_a_decoy_needs_room():
    for wrong in ({"active": (0.5, 0.8)}, {"frames": (2, 9)}):
        with pytest.raises(UserError, match=r"with a decoy three frames, active in \(0, 0\.5\]"):
            dataclasses.replace(DECOYED, **wrong)
    shortest = draw_scene(dataclasses.replace(DECOYED, frames=(3, 3)), 0, (0, 0))
    assert shortest.active_V.sum() == 1
