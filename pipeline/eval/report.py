"""What an evaluation leaves for people and programs: a table, per-class and confusion files, metrics.json."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.data.feed.place import Place
from pipeline.eval.compare import Paired
from pipeline.eval.deletion import MODES
from pipeline.eval.evaluate import Evaluation
from pipeline.eval.explainers import NAMES, Method
from pipeline.eval.faithful import KINDS, UNITS, Benchmark, Units
from pipeline.eval.load import Inversion
from pipeline.eval.metrics import Counts, Interval
from pipeline.eval.place import Known, Pointing, point
from pipeline.eval.truth import Agreement, BoolArray, compare

INVERSION_NAMES: Mapping[Inversion, str] = {
    "none": "as trained",
    "spatial": "spatial inverted",
    "temporal": "temporal inverted",
    "both": "both inverted",
}

INVERTED: Mapping[Units, Inversion] = {"frames": "temporal", "pixels": "spatial"}
"""The attention that says when, and the one that says where."""


def table(evaluation: Evaluation, title: str) -> str:
    """Return the accuracies as a table in plain text: percent, 95 % intervals, one line an inversion and branch."""
    lines: list[tuple[str, ...]] = [("", "top-1 %", "95 %", "top-5 %", "95 %", "mean class %", "95 %")]
    for invert, counts in evaluation.perception.items():
        for branch, found in (("", counts), (", attention branch", evaluation.attention.get(invert))):
            if found is not None and found.videos:
                cells = [found.top1(), found.top5(), found.mean_class_accuracy()]
                texts = [text for cell in cells for text in _percent(cell)]
                lines.append((INVERSION_NAMES[invert] + branch, *texts))
    rows = _aligned(lines)
    return "\n".join([title, *(rows if len(rows) > 1 else []), _footnote(evaluation)])


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells as columns, the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All that an evaluation finds out about explanations."""

    benchmark: Benchmark
    when: Mapping[Method, Agreement] = field(default_factory=dict)
    """How each method's weights of frames agree with known truth; empty where none is known."""
    where: Mapping[Method, Pointing] = field(default_factory=dict)
    """The same of places; empty where the truth knows no boxes."""
    drops: Mapping[Inversion, Paired] = field(default_factory=dict)
    """What inverting attention costs (`Evaluation.inversion_drops`); empty where nothing was inverted."""

    def auc(self, units: Units, method: Method) -> Interval | None:
        """Return the agreement of a method's frames or places with the truth; None where nothing was compared."""
        found = (self.when if units == "frames" else self.where).get(method)
        return found.auc if found is not None and found.clips else None


def judged(
    benchmark: Benchmark,
    active: Mapping[str, BoolArray],
    known: Mapping[str, Known],
    places: Mapping[str, Place],
    drops: Mapping[Inversion, Paired],
) -> Judged:
    """Hold each method's explanations against what is known.

    Args:
        benchmark: the explanations, and what happens to the network as they are followed.
        active: active frames by video; empty where nobody knows them.
        known: where the object is, by video; empty where nobody knows.
        places: what a clip shows of each video.
        drops: what inverting attention costs; empty where nothing was inverted.

    Raises:
        UserError: truth of other videos.
    """
    rows = {m: [row for row in benchmark.rows if row["method"] == m] for m in benchmark.curves}
    when = {method: compare(own, active) for method, own in rows.items()} if active else {}
    where = {method: point(own, known, places) for method, own in rows.items()} if known else {}
    return Judged(benchmark=benchmark, when=when, where=where, drops=drops)


def explanations_table(judged: Judged) -> str:
    """Return areas under the curves as a table in plain text, with 95 % intervals and differences to random maps."""
    benchmark, drops = judged.benchmark, judged.drops
    lines: list[list[str]] = [["", *(cell for mode in MODES for cell in (mode, "minus random"))]]
    if judged.when:
        lines[0].append("AUC against truth")
    if drops:
        lines[0].append("inversion drop")
    for units in UNITS:
        for method, curves in benchmark.curves.items():
            areas = [curves[units, mode] for mode in MODES]
            cells = [text for one in areas for text in (_area(one.area), _area(one.against_random, "+"))]
            if judged.when:
                cells.append(_area(judged.auc(units, method)))
            if drops:
                cells.append(_points(drops.get(INVERTED[units])) if method == "attention" else "")
            lines.append([f"{units}, {NAMES[method]}", *cells])
    if "both" in drops:
        lines.append([f"both, {NAMES['attention']}", *[""] * (len(lines[0]) - 2), _points(drops["both"])])
    notes = [
        f"Explanations of {benchmark.clips} clips. Area under the probability of the predicted class, over "
        f"{benchmark.steps} steps, as what matters most",
        "goes first (deletion: low is good) or comes first (insertion: high is good); what is gone has ImageNet's mean",
        "colour. 95 % intervals: bootstrap over clips.",
    ]
    if judged.when:
        notes.append("AUC: of active frames against others; of pixels, of cells on the object in active frames.")
    if judged.when and not judged.where:
        notes.append("No AUC of pixels: no boxes of the object were read.")
    if drops:
        videos = next(iter(drops.values())).videos
        notes += [
            f"Inversion drop: points of top-1 that {videos} videos lose when temporal attention (frames), spatial",
            "attention (pixels) or both are inverted; 95 % intervals: bootstrap over videos.",
        ]
    return "\n".join([*notes, *_aligned(lines)])


def _area(interval: Interval | None, sign: str = "") -> str:
    if interval is None:
        return ""
    return f"{interval.value:{sign}.3f} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"


def _points(drop: Paired | None) -> str:
    if drop is None:
        return ""
    lost = drop.difference()
    return f"{100 * lost.value:+.1f} ({100 * lost.low:+.1f} to {100 * lost.high:+.1f})"


def explanations_metrics(judged: Judged) -> dict[str, Any]:
    """Return every number of the benchmark as JSON-compatible dictionaries."""
    benchmark, drops = judged.benchmark, judged.drops
    methods: dict[str, Any] = {}
    for method, curves in benchmark.curves.items():
        methods[method] = {f"{units}_{mode}": asdict(curves[units, mode]) for units, mode in KINDS}
        for name, known in (("truth", judged.when.get(method)), ("truth_where", judged.where.get(method))):
            if known is not None:  # of no clip there is no number, and JSON has no NaN
                methods[method][name] = asdict(known) if known.clips else {"clips": 0}
    if drops:
        methods["attention"]["inversion_drop"] = {
            invert: {**asdict(drop), "difference": asdict(drop.difference()), "p": drop.p_value()}
            for invert, drop in drops.items()
        }
    return {"clips": benchmark.clips, "steps": benchmark.steps, "methods": methods}


def explanations_flat(judged: Judged, prefix: str) -> dict[str, float]:
    """Return areas by the names under which they are logged, prefix/explain/method/units_mode, and inversion drops."""
    flat = {
        f"{prefix}/explain/{method}/{units}_{mode}": curves[units, mode].area.value
        for method, curves in judged.benchmark.curves.items()
        for units, mode in KINDS
    }
    told: Mapping[Units, str] = {"frames": "active_frames", "pixels": "on_object"}
    for units, name in told.items():
        for method in judged.benchmark.curves:
            if (auc := judged.auc(units, method)) is not None:
                flat[f"{prefix}/explain/{method}/{name}"] = auc.value
    lost = {invert: 100 * drop.difference().value for invert, drop in judged.drops.items()}
    return flat | {f"{prefix}/explain/attention/drop_{invert}": points for invert, points in lost.items()}


def _percent(interval: Interval) -> tuple[str, str]:
    return f"{100 * interval.value:.2f}", f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"


def _footnote(evaluation: Evaluation) -> str:
    classes = next(iter(evaluation.perception.values())).classes
    counted = evaluation.videos - evaluation.hidden
    notes = [f"{counted} videos counted, each once"]
    if evaluation.hidden:
        notes.append(f"{evaluation.hidden} predicted without a published label")
    if counted and classes <= 5:
        notes.append(f"top-5 of {classes} classes is always 100 %")
    if counted:
        notes.append("intervals: Wilson, of the class mean bootstrap")
    return "; ".join(notes) + "."


def metrics(evaluation: Evaluation) -> dict[str, Any]:
    """Return every number with the integers behind it, as JSON-compatible dictionaries."""
    return {
        "videos": evaluation.videos,
        "hidden_labels": evaluation.hidden,
        "perception": {invert: _numbers(counts) for invert, counts in evaluation.perception.items()},
        "attention": {invert: _numbers(counts) for invert, counts in evaluation.attention.items()},
    }


def flat_metrics(evaluation: Evaluation, prefix: str) -> dict[str, float]:
    """Return the accuracies by the names under which they are logged, percent: prefix/inversion[/attention]/top1."""
    flat: dict[str, float] = {}
    for branch, counts_of in (("", evaluation.perception), ("/attention", evaluation.attention)):
        for invert, counts in counts_of.items():
            if counts.videos:
                flat[f"{prefix}/{invert}{branch}/top1"] = 100 * counts.top1().value
                flat[f"{prefix}/{invert}{branch}/top5"] = 100 * counts.top5().value
                flat[f"{prefix}/{invert}{branch}/mean_class"] = 100 * counts.mean_class_accuracy().value
    return flat


def _numbers(counts: Counts) -> dict[str, Any]:
    if not counts.videos:
        return {"videos": 0}
    named = {"top1": counts.top1(), "top5": counts.top5(), "mean_class_accuracy": counts.mean_class_accuracy()}
    return {
        "videos": counts.videos,
        "top1_hits": counts.top1_hits,
        "top5_hits": counts.top5_hits,
        "top5_of": min(5, counts.classes),
        "classes_with_videos": int((counts.total_by_class > 0).sum()),
        **{name: {"value": i.value, "low": i.low, "high": i.high} for name, i in named.items()},
    }


def per_class_csv(counts: Counts, classes: Sequence[str]) -> str:
    """Return one line a class: index, text, videos, top-1 and top-5 hits and shares, and the commonest wrong class."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["class", "text", "videos", "top1_hits", "top5_hits", "top1", "top5", "most_confused_with", "times"]
    )
    for k, text in enumerate(classes):
        total, hits = int(counts.total_by_class[k]), int(counts.confusion_KK[k, k])
        shares = [f"{hits / total:.6f}", f"{int(counts.top5_K[k]) / total:.6f}"] if total else ["", ""]
        wrong_K = counts.confusion_KK[k].copy()
        wrong_K[k] = 0
        worst = int(wrong_K.argmax())
        confused = [classes[worst], int(wrong_K[worst])] if wrong_K[worst] else ["", 0]
        writer.writerow([k, text, total, hits, int(counts.top5_K[k]), *shares, *confused])
    return out.getvalue()


def confusion_csv(counts: Counts, classes: Sequence[str]) -> str:
    """Return the confusion matrix: a line a true class, a column a predicted class, videos."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["true \\ predicted", *classes])
    for text, row in zip(classes, counts.confusion_KK.tolist(), strict=True):
        writer.writerow([text, *row])
    return out.getvalue()


def confusions(counts: Counts, most: int = 10) -> list[tuple[int, int, int]]:
    """Return the commonest confusions as (videos, true class, predicted class), commonest first."""
    wrong_KK = counts.confusion_KK.copy()
    np.fill_diagonal(wrong_KK, 0)
    order = np.argsort(-wrong_KK, axis=None, kind="stable")[:most]
    pairs = [divmod(int(i), counts.classes) for i in order]
    return [(int(wrong_KK[t, p]), t, p) for t, p in pairs if wrong_KK[t, p]]
