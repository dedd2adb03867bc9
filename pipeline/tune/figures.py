"""A sweep as pictures: every trial as a line through its values and results, and the results against each value."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.eval.metrics import Interval, wilson
from pipeline.tune.choose import Score
from pipeline.tune.ledger import CONTROL, Trial
from pipeline.tune.space import Distribution, Space, as_text
from pipeline.two_stream.curves import COLOURS, label

GREY, INK = "#8a9099", "#1c1e22"
HELDOUT = "held-out edits, mean squared difference"
MAP = "viridis"


@dataclass(frozen=True)
class Drawn:
    """What is drawn: trials with a score, the control among them."""

    trials: Sequence[Trial]
    scores: Mapping[int, Score]
    """By number."""
    space: Space
    best: int
    """Number of the winner."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Of the scores."""
        return self.scores[CONTROL].groups

    @property
    def results(self) -> dict[str, Callable[[Score], Interval | None]]:
        """What came out, by name: top-1 of each group in percent, and the distance to held-out edits."""
        found: dict[str, Callable[[Score], Interval | None]] = {
            f"{group}, top-1 %": lambda score, group=group: _percent(score, group)  # type: ignore[misc]
            for group in self.groups
        }
        if any(score.heldout for score in self.scores.values()):
            found[HELDOUT] = lambda score: score.heldout
        return found

    @property
    def others(self) -> list[Trial]:
        """All but the control."""
        return [trial for trial in self.trials if trial.number != CONTROL]


def _percent(score: Score, group: str) -> Interval | None:
    share = score.shares[group]
    if not share.videos:
        return None
    found = wilson(share.hits, share.videos)
    return Interval(100 * found.value, 100 * found.low, 100 * found.high)


def draw_fields(drawn: Drawn) -> bytes:
    """Draw results with 95 % intervals against every searched field; the control is a band. Returns a PNG."""
    fields, results = drawn.space.fields, drawn.results
    figure = Figure(figsize=(4.4 * len(results), 3.4 * len(fields)), dpi=110, layout="constrained")
    axes_FR = figure.subplots(len(fields), len(results), squeeze=False)
    for field, row in zip(fields, axes_FR, strict=True):
        for (name, read), colour, axes in zip(results.items(), COLOURS, row, strict=False):
            _draw_field(axes, drawn, field, read, colour)
            label(axes, name, field.path, "")
    axes_FR[0][0].legend(frameon=False, fontsize=8)
    return _png(figure)


def _draw_field(
    axes: Axes, drawn: Drawn, field: Distribution, read: Callable[[Score], Interval | None], colour: str
) -> None:
    if held := read(drawn.scores[CONTROL]):
        axes.axhspan(held.low, held.high, color=GREY, alpha=0.14, linewidth=0)
        axes.axhline(held.value, color=GREY, linewidth=1.2, linestyle="--", label="control, 95 %; star: the winner")
    for line in _alike(drawn, field):
        known = [(_place(field, t.values[field.path]), read(drawn.scores[t.number])) for t in line]
        axes.plot(
            [x for x, _ in known], [y.value if y else math.nan for _, y in known], color=colour, linewidth=1, alpha=0.5
        )
    for trial in drawn.others:
        found = read(drawn.scores[trial.number])
        if found is None:
            continue
        x, is_best = _place(field, trial.values[field.path]), trial.number == drawn.best
        reach = [[found.value - found.low], [found.high - found.value]]
        face = colour if trial.state == "finished" else "white"  # hollow: stopped early
        style: dict[str, Any] = {"markersize": 9 if is_best else 6, "markeredgecolor": INK if is_best else colour}
        axes.errorbar(
            x, found.value, yerr=reach, fmt="*" if is_best else "o", color=colour, mfc=face, elinewidth=1, **style
        )
    if field.kind == "log":
        axes.set_xscale("log")
    if field.kind == "choice":
        axes.set_xticks(range(len(field.parts)), [as_text(part) for part in field.parts], fontsize=8)
        axes.set_xlim(-0.5, len(field.parts) - 0.5)
    axes.margins(y=0.12)


def _alike(drawn: Drawn, field: Distribution) -> list[list[Trial]]:
    """Return the trials that differ in one field alone, in the order of its values: they form a curve."""
    lines: dict[str, list[Trial]] = {}
    for trial in sorted(drawn.others, key=lambda trial: _place(field, trial.values[field.path])):
        others = [as_text(value) for path, value in trial.values.items() if path != field.path]
        lines.setdefault(" ".join(others), []).append(trial)
    return list(lines.values()) if field.kind != "choice" else []


def _place(field: Distribution, value: object) -> float:
    return float(field.parts.index(value)) if field.kind == "choice" else float(value)  # type: ignore[arg-type]


def draw_parallel(drawn: Drawn) -> bytes:
    """Draw every trial as a line through its values, then its results, coloured by the first result. Returns a PNG."""
    results = drawn.results
    names = [*(field.path for field in drawn.space.fields), *results]
    rows = [[*_shares(drawn.space, trial), *_values(drawn, trial)] for trial in drawn.others]
    scales = [_Scale.of_field(field) for field in drawn.space.fields]
    scales += [_Scale.of_values([row[len(scales) + i] for row in rows]) for i in range(len(results))]
    figure = Figure(figsize=(2.1 * len(names) + 1.5, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    first = len(drawn.space.fields)
    for trial, row in sorted(zip(drawn.others, rows, strict=True), key=lambda pair: pair[0].number == drawn.best):
        heights = [scale.height(value) for scale, value in zip(scales, row, strict=True)]
        is_best = trial.number == drawn.best
        style: dict[str, Any] = {"linewidth": 3.2 if is_best else 1.3, "alpha": 1.0 if is_best else 0.75}
        axes.plot(range(len(names)), heights, color=colormaps[MAP](0.92 * heights[first]), marker="o", ms=4, **style)
        if is_best:
            axes.plot(range(len(names)), heights, color=INK, linewidth=0.8, linestyle=":")
    for place, scale in enumerate(scales):
        axes.axvline(place, color=INK, linewidth=0.8)
        for height, words in scale.ticks():
            box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
            near: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(words, (place, height), fontsize=8, bbox=box, **near)
    axes.set_xticks(range(len(names)), [name.replace(", ", "\n") for name in names], fontsize=9)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.2, len(names) - 0.6)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_title(f"every trial a line, by {names[first]}; dotted: the winner", fontsize=11, loc="left")
    return _png(figure)


def _shares(space: Space, trial: Trial) -> list[float]:
    return [_place(field, trial.values[field.path]) for field in space.fields]


def _values(drawn: Drawn, trial: Trial) -> list[float]:
    found = [read(drawn.scores[trial.number]) for read in drawn.results.values()]
    return [one.value if one else math.nan for one in found]


@dataclass(frozen=True)
class _Scale:
    """From the values of an axis to heights, 0 to 1."""

    low: float
    high: float
    is_log: bool = False
    names: tuple[str, ...] = ()

    @classmethod
    def of_field(cls, field: Distribution) -> _Scale:
        if field.kind == "choice":
            return cls(0.0, max(1.0, len(field.parts) - 1.0), names=tuple(as_text(part) for part in field.parts))
        return cls(field.parts[0], field.parts[1], field.kind == "log")

    @classmethod
    def of_values(cls, values: Sequence[float]) -> _Scale:
        known = [value for value in values if not math.isnan(value)] or [0.0]
        low, high = min(known), max(known)
        return cls(low, high) if high > low else cls(low - 0.5, low + 0.5)

    def height(self, value: float) -> float:
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        if self.names:
            return [(self.height(float(place)), name) for place, name in enumerate(self.names)]
        middle = math.sqrt(self.low * self.high) if self.is_log else (self.low + self.high) / 2
        return [(self.height(value), f"{value:.3g}") for value in (self.low, middle, self.high)]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
