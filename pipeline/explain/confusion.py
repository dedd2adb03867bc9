"""The confusion matrix as a picture: each row one true class, coloured by the share of its videos."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.eval.metrics import Counts
from pipeline.eval.report import confusions
from pipeline.explain.canvas import INK, PAPER, QUIET, RULE, Canvas, shortened, text_width

Pixels = npt.NDArray[np.uint8]

MARGIN, HEADER, LABELS = 28, 66, 260
NAMED = 30
"""Up to so many classes have their texts and numbers in the matrix; beyond, indices, and the worst pairs below it."""
LISTED = 10
FULL = np.array((8, 48, 107), np.float64)
"""Colour of a share of 1; white is 0, and shares between are mixed."""
EMPTY = (240, 241, 243)
"""Rows of classes without videos."""


def shade(share: npt.NDArray[np.float64]) -> Pixels:
    """Return the colour (..., 3) of shares (...) in [0, 1]; linear in the share."""
    mixed: Pixels = np.rint(255 + share[..., None] * (FULL - 255)).astype(np.uint8)
    return mixed


def draw_confusion(counts: Counts, classes: Sequence[str], title: str) -> Pixels:
    """Draw the matrix.

    Args:
        counts: of the prediction.
        classes: class texts.
        title: one line, such as network and protocol.

    Returns:
        RGB sheet.
    """
    named = counts.classes <= NAMED
    cell = 44 if named else max(4, 880 // counts.classes)
    side = cell * counts.classes
    left = MARGIN + (LABELS if named else 64)
    worst = [] if named else confusions(counts, LISTED)
    width = max(left + side + MARGIN, 700)
    height = MARGIN + HEADER + side + 76 + (54 + 24 * len(worst) if worst else 0) + MARGIN
    sheet = Canvas(height, width)
    top1 = f"top-1 {counts.top1_hits} of {counts.videos}"
    sheet.text(shortened(title, width - 2 * MARGIN, 22, 600), MARGIN + 20, MARGIN, 22, weight=600)
    sheet.text(f"rows: true class, columns: predicted class; {top1}", MARGIN + 46, MARGIN, 15, colour=QUIET)
    _draw_cells(sheet, counts, MARGIN + HEADER, left, cell, named)
    _draw_names(sheet, classes, MARGIN + HEADER, left, cell, named)
    floor = MARGIN + HEADER + side
    _draw_scale(sheet, floor + 40, left)
    if worst:
        sheet.text("commonest confusions", floor + 104, MARGIN, 15, colour=QUIET)
    for line, (times, true, predicted) in enumerate(worst):
        text = f"{times} times  {true} {classes[true]}  →  {predicted} {classes[predicted]}"
        sheet.text(shortened(text, width - 2 * MARGIN, 15), floor + 130 + 24 * line, MARGIN, 15)
    return sheet.pixels


def _draw_cells(sheet: Canvas, counts: Counts, top: int, left: int, cell: int, named: bool) -> None:
    """The matrix, with numbers where they fit."""
    total_K1 = counts.total_by_class[:, None]
    share_KK = counts.confusion_KK / np.maximum(total_K1, 1)
    colours_KKC = shade(share_KK)
    colours_KKC[total_K1[:, 0] == 0] = EMPTY
    sheet.paste(np.kron(colours_KKC, np.ones((cell, cell, 1), np.uint8)), top, left)
    sheet.frame(top - 1, left - 1, cell * counts.classes + 2, cell * counts.classes + 2, RULE)
    for true, predicted in zip(*counts.confusion_KK.nonzero(), strict=True) if named else ():
        middle = left + predicted * cell + cell // 2
        colour = PAPER if share_KK[true, predicted] > 0.5 else INK
        text = str(counts.confusion_KK[true, predicted])
        sheet.text(text, top + true * cell + cell // 2 + 5, middle, 15, colour=colour, align="center")


def _draw_names(sheet: Canvas, classes: Sequence[str], top: int, left: int, cell: int, named: bool) -> None:
    """Class texts and indices beside the rows, indices below the columns; every tenth index when there are many."""
    floor = top + cell * len(classes) + 18
    for k, text in enumerate(classes):
        if not named and k % 10:
            continue
        y = top + k * cell + (cell // 2 if named else 2) + 5
        sheet.text(str(k), y, left - 10, 14, colour=QUIET, align="right")
        if named:
            sheet.text(shortened(text, LABELS - 36, 14), y, left - 36, 14, align="right")
        middle = left + k * cell + cell // 2
        sheet.text(str(k), floor, middle, 14, colour=QUIET, align="center")


def _draw_scale(sheet: Canvas, y: int, x: int) -> None:
    """The colour scale: share of a true class's videos."""
    ramp = shade(np.linspace(0.0, 1.0, 200))
    sheet.paste(np.repeat(ramp[None], 12, axis=0), y, x)
    sheet.frame(y, x, 12, 200, RULE)
    for share, align in ((0, 0.0), (0.5, 0.5), (1, 1.0)):
        text = f"{100 * share:g} %"
        sheet.text(text, y + 30, x + round(share * 199) - round(align * text_width(text, 14)), 14, colour=QUIET)
    sheet.text("of the true class's videos", y + 11, x + 212, 14, colour=QUIET)
