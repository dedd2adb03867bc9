"""The strip of a fine-tuning: the frames of a clip under the temporal attention before it and over the one after.

After S0 figure 5: result before, input frames, result after. Bars are JET of the raw sigmoid values, red is high.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.data.feed.clips import load_clip
from pipeline.data.records import PreparedVideo
from pipeline.data.store.shards import read_video
from pipeline.eval.load import Recogniser
from pipeline.explain.canvas import INK, PAPER, QUIET, Canvas, shortened
from pipeline.explain.colour import jet, resized

MARGIN, GUTTER, GAP, BAR, HEADER, LINE = 28, 150, 4, 22, 64, 18


@dataclass(frozen=True)
class Row:
    """One bar a frame."""

    name: str
    values_T: npt.NDArray[np.float32]
    known_T: npt.NDArray[np.bool_]
    """False: nothing is drawn."""
    above: bool
    """Of the frames, or below."""


@dataclass(frozen=True, kw_only=True)
class ClipRows:
    """What is drawn of one clip."""

    title: str
    verdicts: tuple[str, ...]
    """One a network: what it answered."""
    x_THWC: npt.NDArray[np.uint8]
    idx_T: npt.NDArray[np.int32]
    valid_T: npt.NDArray[np.bool_]
    rows: tuple[Row, ...]


def look(
    networks: dict[str, Recogniser], root: str, video: PreparedVideo, edited_V: npt.NDArray[np.float32] | None = None
) -> ClipRows:
    """Show a video's centred clip to networks before and after.

    Args:
        networks: by name; the first is drawn above the frames, the others below.
        root: of the prepared data set.
        video: any of its videos.
        edited_V: what people said of its frames, NaN where nothing.
    """
    first, *_ = networks.values()
    clip = load_clip(read_video(root, video.shard, video.row), first.recipe.clip)
    rows, verdicts = [], []
    for place, (name, network) in enumerate(networks.items()):
        answer = network.answer(clip.x_THWC[None])
        assert answer.temporal_BT is not None, "only networks with attention are fine-tuned"
        rows.append(Row(name, answer.temporal_BT[0], clip.valid_T, place == 0))
        said = int(answer.logits_BK[0].argmax())
        verdicts.append(f"{name}: {network.classes[said]}{' (right)' if said == video.label else ''}")
    if edited_V is not None:
        known_T = clip.valid_T & ~np.isnan(edited_V[clip.idx_T])
        rows.append(Row("people", np.nan_to_num(edited_V[clip.idx_T]), known_T, False))
    title = f"{video.id}: {first.classes[video.label]}"
    return ClipRows(
        title=title,
        verdicts=tuple(verdicts),
        x_THWC=clip.x_THWC,
        idx_T=clip.idx_T,
        valid_T=clip.valid_T,
        rows=tuple(rows),
    )


def draw(clip: ClipRows, *, tile: int = 96, columns: int = 16) -> npt.NDArray[np.uint8]:
    """Draw the strip; returns an RGB sheet.

    Args:
        clip: what to draw.
        tile: side of a frame on the sheet, pixels.
        columns: frames of a line.
    """
    frames = len(clip.idx_T)
    columns = min(columns, frames)
    lines, head = -(-frames // columns), HEADER + LINE * len(clip.verdicts)
    block = LINE + len(clip.rows) * (BAR + GAP) + tile + 2 * GAP
    width = max(2 * MARGIN + GUTTER + columns * (tile + GAP), 720)
    sheet = Canvas(2 * MARGIN + head + lines * (block + LINE) + LINE, width)
    sheet.text(shortened(clip.title, width - 2 * MARGIN, 22, 600), MARGIN + 22, MARGIN, 22, weight=600)
    for place, verdict in enumerate(clip.verdicts):
        baseline = MARGIN + 48 + place * LINE
        sheet.text(shortened(verdict, width - 2 * MARGIN, 15), baseline, MARGIN, 15, colour=QUIET)
    above, below = [r for r in clip.rows if r.above], [r for r in clip.rows if not r.above]
    for line in range(lines):
        places = range(line * columns, min((line + 1) * columns, frames))
        y = MARGIN + head + line * (block + LINE)
        y = _bars(sheet, above, places, y + LINE, tile)
        for column, t in enumerate(places):
            x = MARGIN + GUTTER + column * (tile + GAP)
            picture_HWC = resized(clip.x_THWC[t], tile, tile)
            sheet.paste(picture_HWC if clip.valid_T[t] else picture_HWC // 3 + 170, y, x)
            caption = str(clip.idx_T[t]) if clip.valid_T[t] else "padding"
            sheet.text(caption, MARGIN + head + line * (block + LINE) + LINE - 5, x, 13, colour=QUIET)
        sheet.text("frames", y + tile // 2, MARGIN + GUTTER - 12, 14, colour=QUIET, align="right")
        _bars(sheet, below, places, y + tile + GAP, tile)
    note = "temporal attention as it is: blue 0, red 1"
    sheet.text(note, sheet.pixels.shape[0] - MARGIN, MARGIN, 14, colour=QUIET)
    return sheet.pixels


def _bars(sheet: Canvas, rows: Sequence[Row], places: range, y: int, tile: int) -> int:
    """Draw rows of bars; returns where the next thing goes."""
    for row in rows:
        sheet.text(row.name, y + 16, MARGIN + GUTTER - 12, 14, colour=QUIET, align="right")
        for column, t in enumerate(places):
            if row.known_T[t]:
                x, colour_C = MARGIN + GUTTER + column * (tile + GAP), jet(row.values_T[t : t + 1])[0]
                sheet.box(y, x, BAR, tile, (int(colour_C[0]), int(colour_C[1]), int(colour_C[2])))
                dark = float(colour_C @ np.array([0.299, 0.587, 0.114])) < 128
                value = f"{row.values_T[t]:.2f}"
                sheet.text(value, y + 16, x + tile // 2, 13, colour=PAPER if dark else INK, align="center")
        y += BAR + GAP
    return y
