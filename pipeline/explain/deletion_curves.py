"""Deletion and insertion curves of every method as a picture, with the areas under them."""

import numpy as np
import numpy.typing as npt

from pipeline.eval.deletion import Mode
from pipeline.eval.explainers import NAMES, Method
from pipeline.eval.faithful import KINDS, Benchmark, Units
from pipeline.explain.canvas import QUIET, RULE, Canvas, Colour, shortened, text_width

Pixels = npt.NDArray[np.uint8]

COLOURS: dict[Method, Colour] = {"attention": (31, 95, 168), "grad_cam": (200, 80, 43), "random": (150, 154, 161)}
MARGIN, HEADER, GAP = 28, 114, 64
WIDTH, HEIGHT = 330, 230
"""Of a panel, pixels."""
GOOD: dict[Mode, str] = {"deletion": "low is good", "insertion": "high is good"}


def draw_curves(benchmark: Benchmark, title: str) -> Pixels:
    """Draw four panels: frames and pixels, deletion and insertion.

    Args:
        benchmark: what was measured.
        title: network, and after a colon the protocol.

    Returns:
        RGB sheet.
    """
    panel = 96 + HEIGHT + 20 * len(benchmark.curves)
    width = 2 * MARGIN + 2 * (GAP + WIDTH)
    sheet = Canvas(HEADER + 2 * panel + MARGIN, width)
    network, _, protocol = title.partition(": ")
    sheet.text(shortened(network, width - 2 * MARGIN, 22, 600), MARGIN + 20, MARGIN, 22, weight=600)
    what = f"probability of the predicted class, mean over {benchmark.clips} clips"
    for line, text in enumerate((protocol, what)):
        sheet.text(shortened(text, width - 2 * MARGIN, 15), MARGIN + 46 + 22 * line, MARGIN, 15, colour=QUIET)
    for place, (units, mode) in enumerate(KINDS):
        row, column = divmod(place, 2)
        _draw_panel(sheet, benchmark, units, mode, HEADER + row * panel, MARGIN + GAP + column * (WIDTH + GAP))
    return sheet.pixels


def _draw_panel(sheet: Canvas, benchmark: Benchmark, units: Units, mode: Mode, top: int, left: int) -> None:
    sheet.text(f"{units}, {mode}", top + 22, left, 17, weight=600)
    sheet.text(GOOD[mode], top + 22, left + WIDTH, 14, colour=QUIET, align="right")
    ceiling = top + 36
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = ceiling + round((1 - share) * HEIGHT)
        sheet.box(y, left, 1, WIDTH, RULE)
        sheet.text(f"{share:g}", y + 5, left - 8, 13, colour=QUIET, align="right")
        sheet.text(
            f"{100 * share:g} %", ceiling + HEIGHT + 20, left + round(share * WIDTH), 13, colour=QUIET, align="center"
        )
    done = "removed" if mode == "deletion" else "shown"
    sheet.text(f"{units} {done}", ceiling + HEIGHT + 38, left + WIDTH // 2, 13, colour=QUIET, align="center")
    methods = list(benchmark.curves.items())
    for line, (method, curves) in enumerate(methods[::-1]):  # random maps first, below the others
        curve = curves[units, mode]
        x_S = left + np.linspace(0.0, WIDTH, len(curve.mean))
        y_S = ceiling + (1 - np.array(curve.mean)) * HEIGHT
        sheet.line(np.stack([x_S, y_S], axis=1), COLOURS[method], 2)
        below = ceiling + HEIGHT + 60 + 20 * (len(methods) - 1 - line)
        sheet.box(below - 6, left, 3, 22, COLOURS[method])
        sheet.text(NAMES[method], below, left + 30, 14)
        area = curve.area
        text = f"area {area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
        sheet.text(text, below, left + max(110, 40 + text_width(NAMES[method], 14)), 14, colour=QUIET)
