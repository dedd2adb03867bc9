"""What happens in a synthetic video, as numbers: the only place where a label changes anything.

A label is an action template (a control, label=appearance, is described at the end); objects, colours, backdrop, size,
length, camera shake and distractors are drawn without looking at it. No single frame says anything about the label,
exactly and by construction:

1.  Everything an action can move is a phase on a circle: the object's place (horizontal, vertical; it leaves at one
    edge and comes in at the other), its angle, the camera's pan (which carries objects round their circles, and an
    endless backdrop), and the zoom (the backdrop has structure on every scale, new fine structure replacing what grows
    coarse, so that it looks the same one octave in or out).
2.  Each phase starts at a value drawn uniformly from its circle, without looking at the label. An action adds to one of
    them a displacement that depends on the label and on the time; the others hold theirs.
3.  A uniform phase plus any independent displacement is the same uniform phase. So the state at frame t, for every t
    (before, during and after the action), has one distribution, whatever the label.

Bounded motions such as covering or growing would break this: an early frame would show where they start. What is left
is what the codec leaks through the neighbours of a frame; the tests measure that it is nothing a network can use.

A decoy, a second action that follows the first, adds a displacement too, so all of this still holds.

With label=appearance the class is the main object's shape and colour, and the action is drawn like everything else:
then motion says nothing about the label, and a single frame everything.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError, problem
from pipeline.data.synth.config import SynthConfig

Floats = npt.NDArray[np.float64]
Moved = Literal["object", "camera", "zoom", "angle", "nothing"]


@dataclass(frozen=True)
class Subject:
    """A class of videos."""

    template: str
    """With the replaceable words in brackets, as the official files have it."""

    @property
    def text(self) -> str:
        """The class as the labels file names it."""
        return self.template.replace("[", "").replace("]", "")


@dataclass(frozen=True)
class Action(Subject):
    """A class by what it moves in which direction."""

    moved: Moved
    direction: tuple[int, int] = (0, 0)
    """Sign of the motion on the screen, x to the right and y downwards; zoom and angle use the first sign alone."""


ACTIONS = (
    Action("Pulling [something] from left to right", "object", (1, 0)),
    Action("Pulling [something] from right to left", "object", (-1, 0)),
    Action("Moving [something] up", "object", (0, -1)),
    Action("Moving [something] down", "object", (0, 1)),
    # The scene moves against the camera.
    Action("Turning the camera left while filming [something]", "camera", (1, 0)),
    Action("Turning the camera right while filming [something]", "camera", (-1, 0)),
    Action("Approaching [something] with your camera", "zoom", (1, 0)),
    Action("Moving away from [something] with your camera", "zoom", (-1, 0)),
    Action("Turning [something] clockwise", "angle", (1, 0)),
    Action("Turning [something] counterclockwise", "angle", (-1, 0)),
    Action("Turning the camera upwards while filming [something]", "camera", (0, 1)),
    Action("Turning the camera downwards while filming [something]", "camera", (0, -1)),
    Action("Holding [something]", "nothing"),
)
"""A mirror exchanges left and right, clockwise and counterclockwise; the texts say so, and flips can follow them."""

SHAPES = ("ball", "box", "tile", "star", "cross", "stick")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 40, 40),
    "green": (40, 170, 70),
    "blue": (45, 80, 215),
    "yellow": (235, 215, 50),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
    "purple": (150, 50, 180),
    "orange": (240, 140, 30),
}
APPEARANCES = tuple(Subject(f"Showing a {colour} {shape}") for colour, shape in zip(COLOURS, SHAPES, strict=False))
"""The classes of label=appearance, the control experiment in which motion says nothing."""
ZOOM_PER_TRAVEL = 2.0
"""Octaves of zoom for a travel of one frame side."""
TURN_PER_TRAVEL = 0.8
"""Turns of the object for a travel of one frame side."""
WRAP_MARGIN = 0.5
"""How far beyond the edge an object's centre goes before it comes in at the other side, in radii."""


@dataclass(frozen=True)
class Thing:
    """An object and its way through the video, in pixels from the frame's top left corner, before wrapping round."""

    shape: str
    colour: str
    radius: float
    centre_V2: Floats
    angle_V: Floats
    """Radians, clockwise on the screen."""


@dataclass(frozen=True)
class Scene:
    """Everything that is needed to draw a video. V frames; x to the right, y downwards, pixels."""

    label: int
    """Index into `used_classes` of the config."""
    seed: tuple[int, int]
    height: int
    width: int
    fps: int
    active_V: npt.NDArray[np.bool_]
    """True strictly between the two rests; nowhere in a video whose action is to hold still."""
    things: tuple[Thing, ...]
    """Distractors first; the last is the object that the label speaks of."""
    shift_V2: Floats
    """Displacement of the backdrop by panning and shaking."""
    zoom_V: Floats
    """Magnification of the backdrop, octaves."""
    backdrop: tuple[int, int, int]
    """Mean colour."""
    clutter: float

    @property
    def frames(self) -> int:
        """V."""
        return len(self.active_V)

    def wrapped(self, thing: Thing) -> Floats:
        """Centres (V, 2) of `thing` brought round to the frame: at most half a radius outside it."""
        margin = WRAP_MARGIN * thing.radius
        period_2 = _periods(np.array([thing.radius]), self.width, self.height)[0]
        wrapped: Floats = (thing.centre_V2 + margin) % period_2 - margin
        return wrapped


def used_classes(config: SynthConfig) -> tuple[Subject, ...]:
    """The classes of a data set, in the order in which they are drawn.

    Raises:
        UserError: more classes than there are.
    """
    known: tuple[Subject, ...] = ACTIONS if config.label == "motion" else APPEARANCES
    if config.classes > len(known):
        raise UserError(
            problem(
                f"The synthetic data set has not that many classes with label={config.label}",
                got=config.classes,
                allowed=f"2 to {len(known)}",
                fix="lower classes",
            )
        )
    return known[: config.classes]


def draw_scene(config: SynthConfig, label: int, seed: tuple[int, int]) -> Scene:
    """Draw the scene of one video; the same arguments give the same scene on every machine.

    Args:
        config: the dials.
        label: index into `used_classes(config)`.
        seed: of the data set, and of the video in it.
    """
    rng = np.random.default_rng(seed)
    width, height = int(rng.choice(config.widths)), int(rng.choice(config.heights))
    fps = int(rng.choice(config.fps))
    shortest, longest = config.frames
    frames = shortest + round((longest - shortest) * (1 - math.sqrt(rng.random())))
    progress_V = _progress(rng, frames, rng.uniform(*config.active), actions=2 if config.decoy else 1)
    short = min(height, width)
    travel = rng.uniform(*config.travel)

    backdrop, colours = _draw_colours(rng, config)
    shapes = rng.choice(SHAPES, size=config.distractors + 1)
    radii = short * rng.uniform(*config.radius, size=config.distractors + 1) * ([0.5] * config.distractors + [1.0])
    places_N2 = rng.random((config.distractors + 1, 2)) * _periods(radii, width, height)
    angles_N = rng.uniform(0, 2 * math.pi, config.distractors + 1)
    shake_V2 = rng.normal(0, config.shake, (frames, 2))
    zoom = rng.random()
    sway_NV2 = _draw_sway(rng, config.distractors, frames, config.sway * short)

    # The label's only effect.
    action = ACTIONS[label]
    if config.label == "appearance":
        action, backdrop = _dress(rng, config, label, shapes, colours, backdrop)
    moved = _displaced(action, progress_V * travel)
    if config.decoy and (config.decoyed == 1 or rng.random() < config.decoyed):
        later = _displaced(_other(rng, action, config), _progress_after(rng, progress_V) * travel * config.decoy)
        moved = {kind: way_V2 + later[kind] for kind, way_V2 in moved.items()}
    pull_V2 = moved["object"] * (width, height)
    turn_V = moved["angle"][:, 0] * TURN_PER_TRAVEL * 2 * math.pi
    zoom_V = zoom + moved["zoom"][:, 0] * ZOOM_PER_TRAVEL
    shift_V2 = moved["camera"] * (width, height) + shake_V2
    swayed_NV2 = places_N2[:, None] + sway_NV2 + shift_V2
    things = [
        Thing(str(shape), colour, float(radius), centre_V2, np.full(frames, angle))
        for shape, colour, radius, centre_V2, angle in zip(shapes, colours, radii, swayed_NV2, angles_N, strict=True)
    ]
    main = things.pop()
    main = Thing(main.shape, main.colour, main.radius, main.centre_V2 + pull_V2, main.angle_V + turn_V)
    return Scene(
        label=label,
        seed=seed,
        height=height,
        width=width,
        fps=fps,
        active_V=(progress_V > 0) & (progress_V < 1) & (action.moved != "nothing"),
        things=(*things, main),
        shift_V2=shift_V2,
        zoom_V=zoom_V,
        backdrop=backdrop,
        clutter=config.clutter,
    )


def _periods(radii_N: Floats, width: int, height: int) -> Floats:
    """Lengths (N, 2) of the circles that the centres of objects go round, pixels."""
    periods: Floats = np.array([width, height]) + 2 * WRAP_MARGIN * radii_N[:, None]
    return periods


def _progress(rng: np.random.Generator, frames: int, share: float, actions: int) -> Floats:
    """Progress (V,) of the action: 0 at the first rest, strictly between 0 and 1 while active, 1 at the second.

    Room is left for further actions of the same length after it, with a frame of rest between.
    """
    length = min(max(round(share * frames), 1), (frames + 1) // actions - 1)
    return _rising(int(rng.integers(0, frames + 2 - actions * (length + 1))), length, frames)


def _progress_after(rng: np.random.Generator, first_V: Floats) -> Floats:
    """Progress (V,) of an action as long as the first, somewhere after it and a frame of rest."""
    active = np.flatnonzero((first_V > 0) & (first_V < 1))
    return _rising(int(rng.integers(active[-1] + 2, len(first_V) - len(active) + 1)), len(active), len(first_V))


def _other(rng: np.random.Generator, action: Action, config: SynthConfig) -> Action:
    """Another of the actions that the data set's classes are."""
    others = [other for other in ACTIONS[: config.classes] if other is not action]
    return others[int(rng.integers(len(others)))]


def _rising(start: int, length: int, frames: int) -> Floats:
    rising_V: Floats = np.clip((np.arange(frames) - start + 1) / (length + 1), 0, 1)
    return rising_V


def _displaced(action: Action, way_V: Floats) -> dict[Moved, Floats]:
    """What an action adds to everything that can be moved, (V, 2), in travels; zoom and angle use the first of both."""
    kinds: tuple[Moved, ...] = ("object", "camera", "zoom", "angle")
    return {kind: (way_V * (action.moved == kind))[:, None] * np.array(action.direction) for kind in kinds}


def _draw_colours(rng: np.random.Generator, config: SynthConfig) -> tuple[tuple[int, int, int], list[str]]:
    """Mean colour of the backdrop, and a colour that stands out from it for every object."""
    red, green, blue = (int(value) for value in rng.integers(60, 200, 3))
    names = list(COLOURS)
    distance_N = np.linalg.norm(np.array(list(COLOURS.values())) - (red, green, blue), axis=1)
    # The farthest colour always qualifies, so that the choice is never empty.
    threshold = min(config.contrast, float(distance_N.max()))
    visible = [name for name, distance in zip(names, distance_N, strict=True) if distance >= threshold]
    return (red, green, blue), [str(name) for name in rng.choice(visible, config.distractors + 1)]


def _dress(
    rng: np.random.Generator,
    config: SynthConfig,
    label: int,
    shapes: npt.NDArray[np.str_],
    colours: list[str],
    backdrop: tuple[int, int, int],
) -> tuple[Action, tuple[int, int, int]]:
    """Give the main object, the last, its class's looks; return what happens, drawn after all else, and a backdrop."""
    shapes[-1], colours[-1] = SHAPES[label], list(COLOURS)[label]
    action = ACTIONS[int(rng.integers(len(ACTIONS)))]
    return action, _grey(COLOURS[colours[-1]], backdrop, config.contrast)


def _grey(colour: tuple[int, int, int], backdrop: tuple[int, int, int], contrast: float) -> tuple[int, int, int]:
    """Return the backdrop without its colour, which then is the objects' alone; dark for light where it hides one."""
    level = round(sum(backdrop) / 3)
    if math.dist(colour, (level,) * 3) < contrast:
        level = 260 - level  # the range it is drawn from, 60 to 200, turned round
    return level, level, level


def _draw_sway(rng: np.random.Generator, distractors: int, frames: int, amplitude: float) -> Floats:
    """Displacements (distractors + 1, V, 2) that swing around zero; the main object's, last, are zero."""
    count = (distractors, 1, 2)
    cycles, phase = rng.uniform(0.05, 0.15, count), rng.random(count)
    swing = amplitude * np.sin(2 * math.pi * (cycles * np.arange(frames)[None, :, None] + phase))
    return np.concatenate([swing, np.zeros((1, frames, 2))])
