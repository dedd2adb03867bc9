"""From a scene to pixels, and to the exact optical flow between two of its frames.

Shape letters: V video frame, H height, W width, C channel (RGB), P points of a polygon.
"""

import functools
import itertools
import math

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.synth.scene import COLOURS, WRAP_MARGIN, Floats, Scene, Thing

Frame = npt.NDArray[np.uint8]
Tile = npt.NDArray[np.float32]

FINEST = 5.0
"""Pixels between the grid points of the finest octave of the backdrop as it fades in."""
OCTAVES = 3
TILE = 32
"""Side of an octave's periodic tile, grid points."""
TILES = 5
"""Tiles of a backdrop; an octave and the one this many octaves away share theirs, and are never seen together."""
_SUBPIXEL = 8
"""Fractional bits of polygon corners."""


def render_frame(scene: Scene, frame: int) -> Frame:
    """Draw frame `frame` of a scene, (H, W, 3) uint8 RGB."""
    image_HWC = _draw_backdrop(scene, frame)
    for thing in scene.things:
        for outline_P2, mark_P2 in _outlines(scene, thing, frame):
            colour = COLOURS[thing.colour]
            cv2.fillPoly(image_HWC, [_fixed_point(outline_P2)], colour, cv2.LINE_AA, _SUBPIXEL)
            cv2.fillPoly(image_HWC, [_fixed_point(mark_P2)], _mark_colour(colour), cv2.LINE_AA, _SUBPIXEL)
    return image_HWC


def object_boxes(scene: Scene, frame: int) -> Floats:
    """Return where the object that the label speaks of is seen in a frame: (N, 4), left, top, right, bottom.

    Shares of the frame's width and height, around the pixels that it has in the frame. N is 1, or more where an object
    that leaves at one edge comes in at the other already.
    """
    main, boxes = scene.things[-1], []
    # With room around it: what reaches beyond a mask, OpenCV closes along the mask's edge.
    room = math.ceil(2 * main.radius) + 1
    for copy_2 in _copies(scene, main, frame):
        mask_HW = np.zeros((scene.height + 2 * room, scene.width + 2 * room), np.uint8)
        cv2.fillPoly(mask_HW, [_fixed_point(_outline(main, frame, copy_2) + room)], 1, cv2.LINE_8, _SUBPIXEL)
        left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask_HW[room:-room, room:-room]))
        if width and height:
            boxes.append((left, top, left + width, top + height))
    boxes_N4: Floats = np.reshape(boxes, (-1, 4)) / (scene.width, scene.height, scene.width, scene.height)
    return boxes_N4


def optical_flow(scene: Scene, frame: int) -> npt.NDArray[np.float32]:
    """The true flow from frame `frame` to the next one.

    Args:
        scene: the scene.
        frame: index from 0 to V - 2.

    Returns:
        (H, W, 2): displacement to the right and downwards, pixels, of what is seen at each pixel of `frame`. Where a
        thing leaves the frame, the flow leads outside it. Pixels keep their colour along it, but for a zoom, under
        which the backdrop's octaves also fade in and out.
    """
    after = frame + 1
    y_HW, x_HW = np.mgrid[: scene.height, : scene.width].astype(np.float64)
    centre_2 = np.array([(scene.width - 1) / 2, (scene.height - 1) / 2])
    grow = 2 ** (scene.zoom_V[after] - scene.zoom_V[frame])
    from_centre_HW2 = np.stack([x_HW, y_HW], axis=-1) - centre_2 - scene.shift_V2[frame]
    flow_HW2 = from_centre_HW2 * (grow - 1) + (scene.shift_V2[after] - scene.shift_V2[frame])
    for thing in scene.things:
        step_2 = thing.centre_V2[after] - thing.centre_V2[frame]
        turn = _rotation(thing.angle_V[after] - thing.angle_V[frame]) - np.eye(2)
        for copy_2 in _copies(scene, thing, frame):
            mask_HW = np.zeros((scene.height, scene.width), np.uint8)
            cv2.fillPoly(mask_HW, [_fixed_point(_outline(thing, frame, copy_2))], 1, cv2.LINE_8, _SUBPIXEL)
            arm_N2 = np.stack([x_HW, y_HW], axis=-1)[mask_HW == 1] - copy_2
            flow_HW2[mask_HW == 1] = arm_N2 @ turn.T + step_2
    flow: npt.NDArray[np.float32] = flow_HW2.astype(np.float32)
    return flow


def _draw_backdrop(scene: Scene, frame: int) -> Frame:
    """Sum the octaves of the backdrop that are visible at this frame's zoom."""
    zoom = scene.zoom_V[frame]
    tiles, tints = _texture(scene.seed)
    centre_2 = np.array([(scene.width - 1) / 2, (scene.height - 1) / 2]) + scene.shift_V2[frame]
    image_HWC = np.full((scene.height, scene.width, 3), scene.backdrop, np.float32)
    for octave in range(math.floor(zoom - OCTAVES) + 1, math.floor(zoom) + 1):
        age = zoom - octave  # 0 as the octave fades in at its finest, OCTAVES as it fades out at its coarsest
        step = 1 / (FINEST * 2**age)
        grey_HW = cv2.warpAffine(
            tiles[octave % TILES],
            np.array([[step, 0, -centre_2[0] * step], [0, step, -centre_2[1] * step]]),
            (scene.width, scene.height),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP,
        )
        weight_3 = scene.clutter * math.sin(math.pi * age / OCTAVES) * tints[octave % TILES]
        image_HWC += grey_HW[:, :, None] * weight_3.astype(np.float32)
    drawn: Frame = np.clip(np.rint(image_HWC), 0, 255).astype(np.uint8)
    return drawn


@functools.lru_cache(maxsize=4)
def _texture(seed: tuple[int, int]) -> tuple[list[Tile], list[Floats]]:
    """Periodic noise (TILE, TILE) and a tint (3,) for every octave: mostly light and dark, with some colour."""
    rng = np.random.default_rng((*seed, 1))
    tiles = [rng.normal(size=(TILE, TILE)).astype(np.float32) for _ in range(TILES)]
    return tiles, [1 + 0.6 * rng.normal(size=3) for _ in range(TILES)]


def _outlines(scene: Scene, thing: Thing, frame: int) -> list[tuple[Floats, Floats]]:
    """Outline and mark (P, 2) of every visible copy of a thing; the mark is off its centre and shows how it turns."""
    mark_P2 = _shape_points("box") * 0.35 * thing.radius + (0.0, -0.3 * thing.radius)
    return [
        (_outline(thing, frame, copy_2), mark_P2 @ _rotation(thing.angle_V[frame]).T + copy_2)
        for copy_2 in _copies(scene, thing, frame)
    ]


def _outline(thing: Thing, frame: int, centre_2: Floats) -> Floats:
    points: Floats = _shape_points(thing.shape) * thing.radius @ _rotation(thing.angle_V[frame]).T + centre_2
    return points


def _copies(scene: Scene, thing: Thing, frame: int) -> list[Floats]:
    """Centres of a thing near an edge and of the part of it that already comes in at the opposite one."""
    centre_2 = scene.wrapped(thing)[frame]
    margin = WRAP_MARGIN * thing.radius
    period_2 = (scene.width + 2 * margin, scene.height + 2 * margin)
    options = []
    for at, side, period in zip(centre_2, (scene.width, scene.height), period_2, strict=True):
        reach = [at, at - period, at + period]
        options.append([value for value in reach if -thing.radius < value < side + thing.radius])
    return [np.array(pair) for pair in itertools.product(*options)]


def _rotation(angle: float) -> Floats:
    """Matrix that turns (x, y) clockwise on the screen."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


@functools.cache
def _shape_points(shape: str) -> Floats:
    """Corners (P, 2) of a shape inside the unit circle."""
    if shape == "ball":
        return _around(np.ones(32))
    if shape == "star":
        return _around(np.tile([1.0, 0.5], 5))
    if shape == "tile":
        return _around(np.ones(3))
    if shape == "cross":
        arm = np.array([[-0.35, -0.9], [0.35, -0.9], [0.35, -0.35]])
        return np.concatenate([arm @ _rotation(k * math.pi / 2).T for k in range(4)])
    half = {"box": (0.8, 0.6), "stick": (0.97, 0.3)}[shape]
    return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half


def _around(radii_P: Floats) -> Floats:
    angle_P = 2 * math.pi * np.arange(len(radii_P)) / len(radii_P)
    points: Floats = np.stack([np.sin(angle_P), -np.cos(angle_P)], axis=1) * radii_P[:, None]
    return points


def _fixed_point(points_P2: Floats) -> npt.NDArray[np.int32]:
    corners: npt.NDArray[np.int32] = np.rint(points_P2 * 2**_SUBPIXEL).astype(np.int32)
    return corners


def _mark_colour(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Dark on light objects, light on dark ones."""
    return (30, 30, 30) if sum(colour) > 380 else (230, 230, 230)
