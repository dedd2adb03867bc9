"""The strip: a clip's frames with temporal attention as a colour bar and spatial attention as a heat map.

After S0 figure 4 and S1 figure 3: for every frame a bar (temporal), the frame, and the frame under its heat map
(spatial), JET, red is high. Values are the network's raw sigmoid outputs unless `stretch` is asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.explain.canvas import INK, PAPER, QUIET, RULE, Canvas, shortened, text_width
from pipeline.explain.colour import jet, overlay, resized
from pipeline.explain.explanation import Explanation, best, minmax

Pixels = npt.NDArray[np.uint8]

MARGIN, GUTTER, GAP = 28, 92, 6
BAR, CAPTION, TRUTH = 20, 26, 12
BLOCK_GAP = 18
HEADER, FOOTER = 142, 44
ACTIVE = (23, 125, 86)
IDLE = (226, 229, 233)


@dataclass(frozen=True, kw_only=True)
class StripStyle:
    """How a strip is laid out."""

    tile: int = 160
    """Side of a frame on the sheet, pixels."""
    columns: int = 8
    """Frames of a row."""
    stretch: bool = False
    """Stretch each attention to [0, 1] over the clip, for display only; the legend says so."""
    note: str = ""
    """One line of provenance at the foot, such as the model and its protocol."""


@dataclass(frozen=True)
class Geometry:
    """Where everything lies on the sheet, pixels."""

    frames: int
    tile: int
    columns: int
    truth: bool

    @property
    def rows(self) -> int:
        """Rows of frames."""
        return -(-self.frames // self.columns)

    @property
    def block(self) -> int:
        """Height of one row of frames with everything that belongs to it."""
        return CAPTION + BAR + 2 * self.tile + 2 * 3 + (TRUTH + 3 if self.truth else 0)

    @property
    def height(self) -> int:
        """Height of the sheet."""
        return MARGIN + HEADER + self.rows * (self.block + BLOCK_GAP) - BLOCK_GAP + FOOTER + MARGIN

    @property
    def width(self) -> int:
        """Width of the sheet; short clips leave room for the header."""
        return max(2 * MARGIN + GUTTER + self.columns * (self.tile + GAP) - GAP, 980)

    def corner(self, frame: int) -> tuple[int, int]:
        """Return (y, x) of the upper left corner of a frame's block."""
        row, column = divmod(frame, self.columns)
        return MARGIN + HEADER + row * (self.block + BLOCK_GAP), MARGIN + GUTTER + column * (self.tile + GAP)

    def bar(self, frame: int) -> tuple[int, int]:
        """Return (y, x) of a frame's temporal bar."""
        y, x = self.corner(frame)
        return y + CAPTION, x

    def picture(self, frame: int) -> tuple[int, int]:
        """Return (y, x) of a frame's pixels."""
        y, x = self.bar(frame)
        return y + BAR + 3, x

    def heat(self, frame: int) -> tuple[int, int]:
        """Return (y, x) of a frame's heat map."""
        y, x = self.picture(frame)
        return y + self.tile + 3, x

    def activity(self, frame: int) -> tuple[int, int]:
        """Return (y, x) of a frame's mark in the row of truth."""
        y, x = self.heat(frame)
        return y + self.tile + 3, x


def geometry(explanation: Explanation, style: StripStyle) -> Geometry:
    """Return where `draw_strip` puts things."""
    frames = len(explanation.idx_T)
    return Geometry(frames, style.tile, min(style.columns, frames), explanation.active_T is not None)


def draw_strip(explanation: Explanation, style: StripStyle | None = None) -> Pixels:
    """Draw the strip.

    Args:
        explanation: the clip, its scores and attentions.
        style: layout; None takes the defaults.

    Returns:
        RGB sheet.
    """
    style = style or StripStyle()
    where = geometry(explanation, style)
    sheet = Canvas(where.height, where.width)
    temporal_T, spatial_THW = explanation.temporal_T, explanation.spatial_THW
    if style.stretch:
        temporal_T, spatial_THW = minmax(temporal_T), minmax(spatial_THW)
    _draw_header(sheet, explanation, style, where)
    for frame in range(where.frames):
        _draw_frame(sheet, explanation, where, frame, temporal_T, spatial_THW)
    for row in range(where.rows):
        _draw_row_names(sheet, where, row * where.columns)
    baseline = where.height - MARGIN - 2
    sheet.text(shortened(_footer(explanation, style), where.width - 2 * MARGIN, 14), baseline, MARGIN, 14, colour=QUIET)
    return sheet.pixels


def _draw_header(sheet: Canvas, explanation: Explanation, style: StripStyle, where: Geometry) -> None:
    """The true class, the three best predictions with their scores, and the legend of the colours."""
    legend = 300
    room = where.width - 2 * MARGIN - legend - 40
    truth = "not given" if explanation.label is None else explanation.classes[explanation.label]
    sheet.text("true class", MARGIN + 21, MARGIN, 15, colour=QUIET)
    sheet.text(shortened(truth, room - GUTTER, 24, 600), MARGIN + 22, MARGIN + GUTTER, 24, weight=600)
    scores_K = explanation.scores
    for place, k in enumerate(best(scores_K, 3)):
        baseline = MARGIN + 58 + 25 * place
        sheet.text(f"{scores_K[k]:.3f}", baseline, MARGIN, 17, colour=INK if place == 0 else QUIET)
        length = round(120 * float(scores_K[k]))
        sheet.box(baseline - 11, MARGIN + 60, 11, 120, IDLE)
        sheet.box(baseline - 11, MARGIN + 60, 11, length, INK if place == 0 else QUIET)
        verdict = "" if explanation.label is None or k != explanation.label else "  (true class)"
        name = shortened(explanation.classes[k], room - 196 - text_width(verdict, 17), 17, 500 if place == 0 else 400)
        sheet.text(name + verdict, baseline, MARGIN + 196, 17, weight=500 if place == 0 else 400)
    _draw_legend(sheet, explanation, style, where.width - MARGIN - legend, legend)
    sheet.box(MARGIN + HEADER - 22, MARGIN, 1, where.width - 2 * MARGIN, RULE)


def _draw_legend(sheet: Canvas, explanation: Explanation, style: StripStyle, x: int, width: int) -> None:
    """The colour scale from 0 to 1, or from smallest to largest when the display is stretched."""
    sheet.text("attention", MARGIN + 16, x, 16, colour=INK, weight=500)
    ramp_W = np.linspace(0.0, 1.0, width, dtype=np.float32)
    sheet.paste(np.repeat(jet(ramp_W)[None], 16, axis=0), MARGIN + 28, x)
    if style.stretch:
        sheet.text("smallest of the clip", MARGIN + 62, x, 14, colour=QUIET)
        sheet.text("largest", MARGIN + 62, x + width, 14, colour=QUIET, align="right")
        ranges = [
            f"{name} {values.min():.2f} to {values.max():.2f}"
            for name, values in (("temporal", explanation.temporal_T), ("spatial", explanation.spatial_THW))
        ]
        sheet.text(", ".join(ranges), MARGIN + 82, x, 14, colour=QUIET)
    else:
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
            at = x + round(tick * (width - 1))
            sheet.box(MARGIN + 44, at, 4, 1, QUIET)
            sheet.text(f"{tick:g}", MARGIN + 63, at - round(tick * text_width(f"{tick:g}", 14)), 14, colour=QUIET)
    if explanation.active_T is not None:
        y = MARGIN + 98
        sheet.box(y, x, TRUTH, 26, ACTIVE)
        sheet.text("action", y + 11, x + 34, 14, colour=QUIET)
        sheet.box(y, x + 100, TRUTH, 26, IDLE)
        sheet.text("no action (known truth)", y + 11, x + 134, 14, colour=QUIET)


def _draw_frame(
    sheet: Canvas,
    explanation: Explanation,
    where: Geometry,
    frame: int,
    temporal_T: npt.NDArray[np.float32],
    spatial_THW: npt.NDArray[np.float32],
) -> None:
    """One frame's caption, bar, picture, heat map and, if known, activity."""
    tile = where.tile
    picture_HWC = resized(explanation.x_THWC[frame], tile, tile)
    heat_HWC = overlay(picture_HWC, spatial_THW[frame])
    if not explanation.valid_T[frame]:  # padding repeats the last frame: shown, but faded towards the paper
        picture_HWC, heat_HWC = (image // 3 + 170 for image in (picture_HWC, heat_HWC))
    y, x = where.corner(frame)
    time = f"{explanation.seconds[frame]:.2f} s" if explanation.valid_T[frame] else "padding"
    sheet.text(str(explanation.idx_T[frame]), y + 17, x, 15, weight=500)
    sheet.text(time, y + 17, x + tile, 14, colour=QUIET, align="right")
    colour_C = jet(temporal_T[frame : frame + 1])[0]
    y, x = where.bar(frame)
    sheet.box(y, x, BAR, tile, (int(colour_C[0]), int(colour_C[1]), int(colour_C[2])))
    dark = colour_C @ np.array([0.299, 0.587, 0.114]) < 128
    value = f"{explanation.temporal_T[frame]:.2f}"
    sheet.text(value, y + 15, x + tile // 2, 14, colour=PAPER if dark else INK, weight=500, align="center")
    sheet.paste(picture_HWC, *where.picture(frame))
    sheet.paste(heat_HWC, *where.heat(frame))
    if explanation.active_T is not None:
        y, x = where.activity(frame)
        sheet.box(y, x, TRUTH, tile, ACTIVE if explanation.active_T[frame] else IDLE)


def _draw_row_names(sheet: Canvas, where: Geometry, first: int) -> None:
    """Names of the rows, in the gutter left of a row's first frame."""
    right = MARGIN + GUTTER - 12
    half = where.tile // 2 + 5
    sheet.text("frame", where.corner(first)[0] + 17, right, 14, colour=QUIET, align="right")
    sheet.text("temporal", where.bar(first)[0] + 15, right, 14, colour=QUIET, align="right")
    sheet.text("input", where.picture(first)[0] + half, right, 14, colour=QUIET, align="right")
    sheet.text("spatial", where.heat(first)[0] + half, right, 14, colour=QUIET, align="right")
    if where.truth:
        sheet.text("action", where.activity(first)[0] + 11, right, 14, colour=QUIET, align="right")


def _footer(explanation: Explanation, style: StripStyle) -> str:
    scale = "each attention stretched over the clip for display" if style.stretch else "raw sigmoid values"
    return "  ·  ".join(part for part in (explanation.source, f"attention: {scale}", style.note) if part)
