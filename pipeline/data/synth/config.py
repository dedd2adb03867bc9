"""How hard the synthetic videos are and how many there are."""

from dataclasses import dataclass
from typing import Literal

from pipeline.core.errors import UserError, problem

Size = Literal["tiny", "demo", "bench"]


@dataclass(frozen=True, kw_only=True)
class SynthConfig:
    """The dials of the synthetic data set. Difficulty grows with clutter and distractors, and as travel shrinks."""

    train: int = 16
    """Videos of the training part."""

    validation: int = 8
    """Videos of the validation part."""

    test: int = 4
    """Videos whose labels are hidden in the metadata (the truth file has them)."""

    label: Literal["motion", "appearance"] = "motion"
    """What makes the class: what happens, which no single frame shows; or shape and colour of the main object, which
    every frame shows while what happens is drawn without looking at the class."""

    classes: int = 6
    """How many of `scene.ACTIONS` (label=appearance: of `scene.APPEARANCES`) are used, from the first."""

    frames: tuple[int, int] = (8, 48)
    """Shortest and longest video; lengths lean to the short side of the range, as Something-Something's do."""

    widths: tuple[int, ...] = (96, 112, 128)
    """Frame widths to choose from, even pixels."""

    heights: tuple[int, ...] = (96, 104, 112)
    """Frame heights to choose from, even pixels."""

    fps: tuple[int, ...] = (10, 12, 15, 24, 25, 30)
    """Frame rates to choose from."""

    active: tuple[float, float] = (0.5, 0.8)
    """Share of a video's frames that the action fills; before and after it the scene is at rest."""

    decoy: float = 0.0
    """Size of a second action, of another class, as a share of the first's; 0 is none. It follows the first and means
    nothing: *when* something moves then matters, and no frame by itself shows whether it does."""

    decoyed: float = 1.0
    """Share of the videos that have the decoy, whatever their class. Where some have none, a network learns from those
    what moves, and from the others what *when* is worth; where all have one it has to learn both at once."""

    travel: tuple[float, float] = (0.6, 0.8)
    """Size of the action: share of the frame's side that is crossed; zooms and turns are scaled from it."""

    radius: tuple[float, float] = (0.2, 0.27)
    """Radius of the main object, as a share of the frame's short side."""

    clutter: float = 10.0
    """Contrast of the backdrop's texture: standard deviation in grey levels."""

    contrast: float = 110.0
    """Smallest distance between an object's colour and the backdrop's mean colour, in RGB grey levels."""

    distractors: int = 2
    """Smaller objects that sway all the time and mean nothing."""

    sway: float = 0.05
    """Amplitude of the distractors' swaying, as a share of the frame's short side."""

    shake: float = 0.5
    """Standard deviation of the camera's jitter, pixels a frame."""

    def __post_init__(self) -> None:
        if (
            min(self.train, self.validation, self.classes - 1) < 1
            or min(self.test, self.distractors) < 0
            or not (3 if self.decoy else 2) <= self.frames[0] <= self.frames[1]
            or not 0 < self.active[0] <= self.active[1] <= (0.5 if self.decoy else 1)
            or self.decoy < 0
            or not 0 < self.decoyed <= 1
            or any(side < 32 or side % 2 for side in (*self.widths, *self.heights))
        ):
            raise UserError(
                problem(
                    "The synthetic data set's config is impossible",
                    got=self,
                    allowed="videos in train and validation, two classes, two frames, active in (0, 1], decoyed in "
                    "(0, 1], even sides from 32 pixels; with a decoy three frames, active in (0, 0.5]",
                    fix="correct the field",
                )
            )


PRESETS: dict[Size, SynthConfig] = {
    "tiny": SynthConfig(train=18, validation=6, test=4, frames=(8, 120)),
    "demo": SynthConfig(train=1280, validation=240, test=18, frames=(8, 36)),
    "bench": SynthConfig(
        train=6000,
        validation=1000,
        test=100,
        classes=13,
        frames=(8, 120),
        widths=(128, 144, 160),
        heights=(112, 120, 128),
        active=(0.25, 0.5),
        travel=(0.25, 0.45),
        radius=(0.08, 0.14),
        clutter=45.0,
        contrast=60.0,
        distractors=5,
        sway=0.08,
        shake=1.0,
    ),
}
"""tiny: seconds, for tests. demo: learnable in two minutes of CPU. bench: cluttered, small and slow motion."""
