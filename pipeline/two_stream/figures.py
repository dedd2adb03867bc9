"""Pictures of where a system looks, after figures 1.1 and 4.2 of the two-stream thesis (S3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.records import HIDDEN_LABEL
from pipeline.explain.canvas import INK, PAPER, QUIET, RULE, Canvas, shortened, text_width
from pipeline.explain.colour import jet, overlay, resized
from pipeline.flow.quantise import decode
from pipeline.two_stream.explain import LAYERS, Explained
from pipeline.two_stream.samples import STREAMS, Pixels

MARGIN, GAP, BLOCK_GAP = 28, 6, 20
NAMES, CAPTION = 150, 24
"""Room for the names of rows, and for the frame numbers above the columns."""
HEADER, FOOTER = 104, 34
TILE = 132
"""Height of a picture, pixels."""
LEAST = 960
"""Width of a sheet with few columns, so that its header has room."""
FULL_SHARE = 0.35
"""Share of a video's largest motion that has full colour: few pixels move that fast, and the rest would be dark."""
STILL = 0.5
"""Pixels of motion below which no speed counts as full: noise of still videos would shine."""

SEES = {"spatial": "frames", "temporal": "flow"}


@dataclass(frozen=True)
class Row:
    """One row of pictures."""

    name: str
    note: str
    """A second, quieter line below the name."""
    pictures: Sequence[Pixels]


def draw_layers(explained: Explained, about: str = "") -> Pixels:
    """Draw the Grad-CAM maps of the last three modules over the frames, for both streams (S3 figure 4.2).

    Args:
        explained: of one video.
        about: a line of provenance at the foot.

    Returns:
        RGB sheet.
    """
    blocks = []
    for stream in STREAMS:
        under = explained.frames_P if stream == "spatial" else flow_colours(explained)
        rows = [Row(SEES[stream], f"the {stream} input", under)]
        for layer in LAYERS:
            maps_P = explained.layers[stream, layer]
            side = "x".join(str(n) for n in maps_P.shape[1:])
            rows.append(Row(layer, f"{stream}, {side}", _overlaid(explained.frames_P, maps_P)))
        blocks.append(rows)
    title = f"Grad-CAM of class: {explained.classes[explained.asked]}"
    return _draw(explained, title, blocks, about)


def draw_attention(explained: Explained, about: str = "") -> Pixels:
    """Draw the temporal stream's attention over the frames and the spatial stream's over the flow (S3 figure 1.1).

    These are the maps that the streams give each other in a test, made by the attention nets without any class.

    Args:
        explained: of one video, by a system with attention.
        about: a line of provenance at the foot.

    Returns:
        RGB sheet.
    """
    attention, flow_P = explained.attention, flow_colours(explained)
    assert attention, "only a system with attention has these maps"
    blocks = [
        [
            Row("frames", "", explained.frames_P),
            Row(
                "T over frames", "where the flow points", _overlaid(explained.frames_P, explained.attention["temporal"])
            ),
        ],
        [
            Row("flow", "hue: direction", flow_P),
            Row("S over flow", "where the frames point", _overlaid(flow_P, attention["spatial"])),
        ],
    ]
    return _draw(explained, "What the streams show each other", blocks, about)


def flow_colours(explained: Explained) -> list[Pixels]:
    """Colour the first flow of each place's stack: hue is the direction, brightness the speed, black is rest.

    One scale for all places of a video, so that its columns can be compared.
    """
    flow_P = [decode(stack_HWM2[..., :2], explained.bound) for stack_HWM2 in explained.stacks_P]
    # Level 128 decodes to bound / 255 pixels of motion, in place of none.
    flow_P = [np.where(np.abs(flow) <= explained.bound / 255 + 1e-6, 0, flow) for flow in flow_P]
    fastest = max(float(np.linalg.norm(flow, axis=-1).max()) for flow in flow_P)
    full = max(FULL_SHARE * fastest, STILL)
    return [_colour(flow, full) for flow in flow_P]


def _colour(flow_HW2: npt.NDArray[np.float32], full: float) -> Pixels:
    angle_HW = np.degrees(np.arctan2(flow_HW2[..., 1], flow_HW2[..., 0])) % 360
    speed_HW = np.linalg.norm(flow_HW2, axis=-1)
    hsv_HWC = np.stack([angle_HW, np.ones_like(speed_HW), np.minimum(speed_HW / full, 1)], axis=-1)
    rgb_HWC = cv2.cvtColor(hsv_HWC.astype(np.float32), cv2.COLOR_HSV2RGB)
    return np.asarray(np.rint(rgb_HWC * 255), np.uint8)


def _overlaid(under_P: Sequence[Pixels], maps_P: npt.NDArray[np.float32]) -> list[Pixels]:
    """Blend maps over pictures at the size in which they are shown: what is blended small looks coarse."""
    return [overlay(_tile(under_HWC), map_hw) for under_HWC, map_hw in zip(under_P, maps_P, strict=True)]


def _tile(picture_HWC: Pixels) -> Pixels:
    height, width = picture_HWC.shape[:2]
    return resized(picture_HWC, TILE, round(width * TILE / height))


def _draw(explained: Explained, title: str, blocks: Sequence[Sequence[Row]], about: str) -> Pixels:
    columns, wide = len(explained.at_P), _tile(explained.frames_P[0]).shape[1]
    width = max(2 * MARGIN + NAMES + columns * (wide + GAP) - GAP, LEAST)
    rows = sum(len(block) for block in blocks)
    body = CAPTION + rows * (TILE + GAP) + (len(blocks) - 1) * (BLOCK_GAP - GAP)
    sheet = Canvas(2 * MARGIN + HEADER + body + FOOTER, width)
    _header(sheet, explained, title, width)
    y, left = MARGIN + HEADER + CAPTION, MARGIN + NAMES
    for column, at in enumerate(explained.at_P):
        sheet.text(f"frame {at}", y - 8, left + column * (wide + GAP), 14, colour=QUIET)
    for block in blocks:
        for row in block:
            sheet.text(shortened(row.name, NAMES - 12, 17, 500), y + TILE // 2, MARGIN, 17, weight=500)
            sheet.text(shortened(row.note, NAMES - 12, 12), y + TILE // 2 + 18, MARGIN, 12, colour=QUIET)
            for column, picture_HWC in enumerate(row.pictures):
                sheet.paste(_tile(picture_HWC), y, left + column * (wide + GAP))
            y += TILE + GAP
        y += BLOCK_GAP - GAP
    foot = "; ".join(part for part in (about, "maps of whole frames, red is 1, blue is 0") if part)
    sheet.text(shortened(foot, width - 2 * MARGIN, 13), sheet.pixels.shape[0] - MARGIN, MARGIN, 13, colour=QUIET)
    return sheet.pixels


def _header(sheet: Canvas, explained: Explained, title: str, width: int) -> None:
    """The title, the video, true and predicted class, and the legend of the colours."""
    legend = 220
    room = width - 2 * MARGIN - legend - 40
    sheet.text(shortened(title, room, 22, 600), MARGIN + 20, MARGIN, 22, weight=600)
    predicted = int(explained.scores_K.argmax())
    label = "not published" if explained.label == HIDDEN_LABEL else explained.classes[explained.label]
    told = f"predicted: {explained.classes[predicted]} ({explained.scores_K[predicted]:.2f})"
    sheet.text(shortened(f"true class: {label}", room, 15), MARGIN + 46, MARGIN, 15)
    wrong = explained.label not in (HIDDEN_LABEL, predicted)
    sheet.text(shortened(told + ("  (wrong)" if wrong else ""), room, 15), MARGIN + 67, MARGIN, 15, colour=INK)
    sheet.text(shortened(explained.id, room, 13), MARGIN + 87, MARGIN, 13, colour=QUIET)
    x = width - MARGIN - legend
    ramp_W = np.linspace(0.0, 1.0, legend, dtype=np.float32)
    sheet.text("map", MARGIN + 15, x, 15, weight=500)
    sheet.paste(np.repeat(jet(ramp_W)[None], 12, axis=0), MARGIN + 24, x)
    for text, at in (("0", x), ("1", x + legend - text_width("1", 12))):
        sheet.text(text, MARGIN + 50, at, 12, colour=QUIET)
    _wheel(sheet, MARGIN + 46, x + legend // 2 - 20)
    sheet.box(MARGIN + HEADER - 8, MARGIN, 1, width - 2 * MARGIN, RULE)


def _wheel(sheet: Canvas, y: int, x: int, size: int = 40) -> None:
    """The colours of the flow: a disc whose pixel's colour is that of moving from its centre to the pixel."""
    y_HW, x_HW = np.mgrid[0:size, 0:size] - (size - 1) / 2
    flow_HW2 = np.stack([x_HW, y_HW], axis=-1).astype(np.float32)
    disc_HWC = _colour(flow_HW2, size / 2)
    disc_HWC[np.hypot(x_HW, y_HW) > size / 2] = PAPER
    sheet.paste(disc_HWC, y, x)
    sheet.text("flow", y + 24, x - 40, 12, colour=QUIET)
