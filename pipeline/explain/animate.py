"""The clip in motion: input and heat map side by side, over the curve of temporal attention with a moving mark."""

import io
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.explain.canvas import INK, QUIET, RULE, Canvas, shortened
from pipeline.explain.colour import jet, overlay, resized
from pipeline.explain.explanation import Explanation, best

Pixels = npt.NDArray[np.uint8]

SIDE, MARGIN, GAP = 256, 16, 8
HEADER, BAR, CURVE = 58, 20, 64
SHORTEST_MS = 60
"""Browsers slow shorter frames down to 100 ms, so fast videos would play unevenly."""


def draw_frames(explanation: Explanation) -> list[Pixels]:
    """Draw one picture for each frame of the clip, RGB, all of one size."""
    width = 2 * MARGIN + 2 * SIDE + GAP
    height = MARGIN + HEADER + BAR + 4 + SIDE + 12 + CURVE + 24 + MARGIN
    blank = Canvas(height, width)
    winner = best(explanation.scores, 1)[0]
    score = f"{explanation.scores[winner]:.3f}"
    blank.text(
        shortened(explanation.classes[winner], width - 2 * MARGIN - 64, 18, 600), MARGIN + 16, MARGIN, 18, weight=600
    )
    blank.text(score, MARGIN + 16, width - MARGIN, 18, align="right")
    if explanation.label is not None:
        verdict = "correct" if winner == explanation.label else f"true class: {explanation.classes[explanation.label]}"
        blank.text(shortened(verdict, width - 2 * MARGIN, 14), MARGIN + 40, MARGIN, 14, colour=QUIET)
    pictures = []
    for frame in range(len(explanation.idx_T)):
        sheet = Canvas(height, width)
        sheet.paste(blank.pixels, 0, 0)
        _draw_moment(sheet, explanation, frame)
        pictures.append(sheet.pixels)
    return pictures


def _draw_moment(sheet: Canvas, explanation: Explanation, frame: int) -> None:
    """Bar, input, heat map and curve of one frame."""
    top, right = MARGIN + HEADER, MARGIN + SIDE + GAP
    colours_TC = jet(explanation.temporal_T)
    sheet.box(top, MARGIN, BAR, 2 * SIDE + GAP, _rgb(colours_TC[frame]))
    picture_HWC = resized(explanation.x_THWC[frame], SIDE, SIDE)
    sheet.paste(picture_HWC, top + BAR + 4, MARGIN)
    sheet.paste(overlay(picture_HWC, explanation.spatial_THW[frame]), top + BAR + 4, right)
    floor = top + BAR + 4 + SIDE + 12 + CURVE
    edges = np.linspace(MARGIN, MARGIN + 2 * SIDE + GAP, len(colours_TC) + 1).round().astype(int)
    for other, (left, end) in enumerate(pairwise(edges)):
        tall = max(1, round(CURVE * float(explanation.temporal_T[other])))
        sheet.box(floor - tall, left, tall, max(1, end - left - 1), _rgb(colours_TC[other]))
        if other == frame:
            sheet.box(floor + 2, left, 4, max(1, end - left - 1), INK)
    sheet.box(floor, MARGIN, 1, 2 * SIDE + GAP, RULE)
    moment = f"frame {explanation.idx_T[frame]}, {explanation.seconds[frame]:.2f} s"
    if not explanation.valid_T[frame]:
        moment += " (padding)"
    sheet.text(moment, floor + 24, MARGIN, 14, colour=QUIET)
    value = f"temporal attention {explanation.temporal_T[frame]:.2f}"
    sheet.text(value, floor + 24, MARGIN + 2 * SIDE + GAP, 14, colour=QUIET, align="right")


def _rgb(colour_C: Pixels) -> tuple[int, int, int]:
    return int(colour_C[0]), int(colour_C[1]), int(colour_C[2])


def durations_ms(explanation: Explanation) -> list[int]:
    """How long each frame stays: the distance to the next sampled frame in the video's own time; the last rests."""
    steps = np.diff(explanation.idx_T, append=explanation.idx_T[-1] + 1) / explanation.fps * 1000
    shown = [max(SHORTEST_MS, round(float(step))) for step in steps]
    return [*shown[:-1], max(shown[-1], 600)]


def encode(explanation: Explanation, form: Literal["gif", "webp"] = "webp") -> bytes:
    """Return the animation as an endlessly looping GIF or WebP; WebP keeps the colours, GIF has 256 a frame."""
    first, *rest = [Image.fromarray(picture) for picture in draw_frames(explanation)]
    buffer = io.BytesIO()
    options = {"quality": 85, "method": 3} if form == "webp" else {"optimize": False, "disposal": 1}
    first.save(buffer, form, save_all=True, append_images=rest, duration=durations_ms(explanation), loop=0, **options)
    return buffer.getvalue()
