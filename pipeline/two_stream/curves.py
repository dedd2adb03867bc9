"""Loss and accuracy of systems against epochs, and what each cost: the two procedures side by side (S3 figure 4.1)."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.tracking.run import client_of
from pipeline.two_stream.samples import STREAMS, Stream
from pipeline.two_stream.stages import Kind, Places, stages
from pipeline.two_stream.system import System

EPOCH, LOSS, TOP1 = "epoch", "train/loss", "val/top1"
PARTS: Mapping[Kind, str] = {"train": "streams", "joint": "streams", "maps": "maps", "attention": "attention nets"}
COLOURS = ("#1f5fa8", "#c8502b", "#3c8c4f", "#7a4fa0")
"""One a system."""
SHADES: Mapping[str, float] = {"streams": 1.0, "maps": 0.55, "attention nets": 0.25}
NARROW = 20
"""Letters of a name below its bar, before it goes on in the next line."""
DASHES: Mapping[Stream, str] = {"spatial": "-", "temporal": "--"}


@dataclass(frozen=True)
class Line:
    """Values against epochs, those of all rounds counted on."""

    epochs: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Curves:
    """What the training of a system recorded."""

    name: str
    rounds: int
    loss: Mapping[Stream, Line]
    """Of training."""
    top1: Mapping[Stream, Line]
    """Of the validation inside training, percent; it shows 0.1 in place of maps."""
    seconds: Mapping[str, float]
    """Wall-clock time by PARTS. Of a stage that was resumed, that of the last attempt."""


def read_curves(system: System, uri: str) -> Curves:
    """Read a system's curves from MLflow and its costs from the records of its stages.

    Args:
        system: trained.
        uri: of the tracking server.

    Raises:
        UserError: a run that is not tracked there.
    """
    lines: dict[tuple[str, Stream], tuple[list[float], list[float]]] = {
        (key, stream): ([], []) for key in (LOSS, TOP1) for stream in STREAMS
    }
    seconds = dict.fromkeys(PARTS.values(), 0.0)
    places = Places(system.root, system.name)
    for stage in stages(system.recipe):
        record: dict[str, Any] = storage.read_json(places.record(stage.name))
        seconds[PARTS[stage.kind]] += record["seconds"]
        if stage.kind not in ("train", "joint"):
            continue
        epochs_a_step = _epochs_a_step(uri, record)
        before = sum(one.epochs for one in system.recipe.rounds[: stage.round - 1])
        for key in (LOSS, TOP1):
            epochs, values = lines[key, stage.stream]
            for step, value in _history(uri, record, key):
                epochs.append(before + step * epochs_a_step)
                values.append(value)
    found = {key: Line(tuple(epochs), tuple(values)) for key, (epochs, values) in lines.items()}
    loss, top1 = ({stream: found[key, stream] for stream in STREAMS} for key in (LOSS, TOP1))
    return Curves(system.name, len(system.recipe.rounds), loss, top1, seconds)


def _epochs_a_step(uri: str, record: Mapping[str, Any]) -> float:
    """Return the share of an epoch that a step is, from the points in which the run recorded both.

    Raises:
        UserError: the run is not tracked there.
    """
    points = _history(uri, record, EPOCH)
    if not points:
        what, run = f"The curve of {record['stage']} is not tracked", record["mlflow_run_id"] or "none"
        fix = "give the storage of the training, or set MLFLOW_TRACKING_URI to its server"
        raise UserError(problem(what, got=f"{uri or 'no server'}, run {run}", allowed="the MLflow of its run", fix=fix))
    step, epoch = points[-1]
    return epoch / step


def _history(uri: str, record: Mapping[str, Any], key: str) -> list[tuple[int, float]]:
    """Return (step, value) in the order of the steps; a step that was logged twice counts once."""
    run_id = record["mlflow_run_id"]
    points = client_of(uri).get_metric_history(run_id, key) if uri and run_id else []
    return sorted({point.step: point.value for point in points}.items())


def draw_curves(systems: Sequence[Curves]) -> bytes:
    """Draw loss, accuracy and cost of some systems as a PNG."""
    figure = Figure(figsize=(13.5, 4.2), dpi=110, layout="constrained")
    loss, top1, cost = figure.subplots(1, 3, width_ratios=(1.1, 1.1, 0.9))
    for one, colour in zip(systems, COLOURS, strict=False):
        for stream in STREAMS:
            style = {"color": colour, "linestyle": DASHES[stream], "linewidth": 1.6, "label": f"{one.name}, {stream}"}
            loss.plot(one.loss[stream].epochs, one.loss[stream].values, **style)
            marker = "o" if len(one.top1[stream].epochs) < 30 else ""
            top1.plot(one.top1[stream].epochs, one.top1[stream].values, marker=marker, markersize=4, **style)
    label(loss, "training loss", "epoch", "cross-entropy")
    label(top1, "validation, 0.1 in place of maps", "epoch", "top-1 %")
    top1.set_ylim(0, 100)
    loss.set_ylim(bottom=0)
    loss.legend(frameon=False, fontsize=8)
    _bars(cost, systems)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _bars(axes: Axes, systems: Sequence[Curves]) -> None:
    """Seconds of each system, its parts on top of each other."""
    for place, (one, colour) in enumerate(zip(systems, COLOURS, strict=False)):
        bottom = 0.0
        for part, seconds in one.seconds.items():
            axes.bar(place, seconds, bottom=bottom, color=colour, alpha=SHADES[part], width=0.55)
            if seconds > 0.06 * max(sum(other.seconds.values()) for other in systems):
                ink = "white" if SHADES[part] == 1.0 else "black"
                axes.text(place, bottom + seconds / 2, part, ha="center", va="center", fontsize=8, color=ink)
            bottom += seconds
        axes.text(place, bottom, f"{bottom:,.0f} s", ha="center", va="bottom", fontsize=9)
    names = [f"{fill(one.name, NARROW)}\n{one.rounds} round{'s' * (one.rounds != 1)}" for one in systems]
    axes.set_xticks(range(len(systems)), names, fontsize=8)
    axes.set_xlim(-0.6, len(systems) - 0.4)
    axes.margins(y=0.12)
    label(axes, "cost", "", "seconds")


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Give axes their words and the looks of all our drawings."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e2e5e9", linewidth=0.8)
    axes.set_axisbelow(True)


def curves_table(systems: Sequence[Curves]) -> str:
    """Return the last values and the cost of each system as text."""
    lines = []
    for one in systems:
        ends = [_ends(one, stream) for stream in STREAMS]
        parts = ", ".join(f"{part} {seconds:.0f}" for part, seconds in one.seconds.items() if seconds)
        lines.append(f"{one.name}: {'; '.join(ends)}; {sum(one.seconds.values()):.0f} s ({parts})")
    return "\n".join(lines)


def _ends(one: Curves, stream: Stream) -> str:
    """Say a stream's last values; a run that was cut short may have no validation."""
    loss, top1 = one.loss[stream].values, one.top1[stream].values
    return f"{stream} loss {loss[-1]:.3f}" + (f", top-1 {top1[-1]:.1f} %" if top1 else ", never validated")
