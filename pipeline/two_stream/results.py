"""What a test leaves for people and programs: a table beside the paper's row, metrics.json, per-class files."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core import storage
from pipeline.eval import report
from pipeline.eval.compare import Paired, mean_of_folds
from pipeline.eval.metrics import Counts, Interval
from pipeline.explain.confusion import draw_confusion
from pipeline.explain.page import png
from pipeline.two_stream.answer import Variant
from pipeline.two_stream.evaluate import PARTS, Tested
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.predict import TestRun, column
from pipeline.two_stream.system import System

NAMES: dict[Variant, str] = {
    "without": "without attention",
    "with": "with attention (last round, maps from the attention nets)",
    "blind": "last round, 0.1 instead of maps",
}
SHOWN = {"spatial": "spatial", "temporal": "temporal", "fused": "fusion"}
COMPARED: tuple[tuple[str, Variant, Variant], ...] = (
    ("maps and further training added together", "without", "with"),
    ("the maps alone added in the same networks", "blind", "with"),
)


@dataclass(frozen=True, kw_only=True)
class Results:
    """Where and how a system was tested."""

    system: System
    data: PairedData
    job: TestRun
    differences: tuple[str, ...] = ()
    """Between the data at hand and the training's."""

    @property
    def name(self) -> str:
        """Name for a folder."""
        crops = f"x{self.job.viewing.crops}crops" if self.job.viewing.crops > 1 else ""
        return f"{self.system.name}-{self.job.split}-fold{self.job.fold}-{self.job.viewing.places}places{crops}"

    def about(self) -> dict[str, str]:
        """Return everything that a reader needs to repeat the test."""
        system, job = self.system, self.job
        checkpoints = {stage: f"{folder} {digest[:12]}" for stage, (folder, digest) in system.checkpoints.items()}
        return {
            "system": system.name,
            "recipe": system.recipe.name,
            "checkpoints": json.dumps(checkpoints),
            "data": f"{self.data.prepared.name} at {self.data.prepared.root}",
            "flow": self.data.flow.root,
            "passport": self.data.identity().digest,
            "trained_on": system.passport.digest,
            "differences": "; ".join(self.differences),
            "split": f"{job.split}, fold {job.fold}",
            "protocol": job.viewing.describe(),
            "fusion": _weights(job.fusion),
            "precision": str(job.precision or system.recipe.train.precision),
        }

    def title(self) -> str:
        """Return one line above the table."""
        job = self.job
        return (
            f"{self.system.name}: {self.data.prepared.name} {job.split} fold {job.fold}, {job.viewing.describe()}, "
            f"fusion {_weights(job.fusion)}"
        )


def _weights(fusion: tuple[float, float]) -> str:
    return f"{fusion[0]:g} : {fusion[1]:g}"


def table(results: Results, tested: Tested) -> str:
    """Return accuracies with 95 % intervals, the paper's row, and what attention added, in plain text."""
    lines = [results.title(), f"{'':14}{'top-1 %':>9}{'95 %':>18}{'mean class %':>15}{'95 %':>18}"]
    for variant in tested.variants if tested.ids else ():
        lines.append(NAMES[variant])
        for part in PARTS:
            counts = tested.counts[column(variant, part)]
            top1, classes = counts.top1(), counts.mean_class_accuracy()
            cells = f"{_percent(top1):>9}{_range(top1):>18}{_percent(classes):>15}{_range(classes):>18}"
            lines.append(f"  {SHOWN[part]:12}{cells}")
    lines += [*_paper(results.system), *_added(tested)]
    lines += [f"maps of the {stream} stream: {found.sentence()}" for stream, found in tested.pointing.items()]
    lines.append(_footnote(results, tested))
    return "\n".join(lines)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.2f}"


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"


def _paper(system: System) -> list[str]:
    expected = system.recipe.expected
    numbers = {"spatial": expected.spatial, "temporal": expected.temporal, "fusion": expected.fused}
    told = [f"{name} {value:.2f}" for name, value in numbers.items() if value is not None]
    return [f"expected ({expected.source or 'the recipe'}): {', '.join(told)}"] if told else []


def _added(tested: Tested) -> list[str]:
    lines: list[str] = []
    for what, before, after in COMPARED:
        if not {before, after} <= set(tested.variants) or not tested.ids:
            continue
        lines.append(f"what {what}, on the same {len(tested.ids)} videos")
        for part in PARTS:
            pair = tested.added(part, before, after)
            lines.append(f"  {SHOWN[part]:12}{sentence(pair)}")
    return lines


def sentence(pair: Paired) -> str:
    """Say a paired comparison: the difference in points, who gained, and how likely chance alone would do that."""
    found = pair.difference()
    p = pair.p_value()
    chance = f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"
    return (
        f"{100 * found.value:+.2f} points (95 % {100 * found.low:+.2f} to {100 * found.high:+.2f}); "
        f"{pair.gained} videos gained, {pair.lost} lost, McNemar {chance}"
    )


def _footnote(results: Results, tested: Tested) -> str:
    notes = [f"{len(tested.ids)} videos counted, each once"]
    if tested.hidden:
        notes.append(f"{tested.hidden} predicted without a published label")
    if tested.not_scored:
        stages = Counter(one.stage for one in tested.not_scored)
        where = ", ".join(f"{count} lost in {stage}" for stage, count in sorted(stages.items()))
        notes.append(f"{len(tested.not_scored)} of the split not scored ({where}: not_scored.csv)")
    notes.append("intervals: Wilson, of class means and differences bootstrap, exact where no video differs")
    if results.differences:
        notes.append(f"not the training's data: {'; '.join(results.differences)}")
    return "; ".join(notes) + "."


def metrics(results: Results, tested: Tested) -> dict[str, Any]:
    """Return every number with the integers behind it, as JSON-compatible dictionaries."""
    found: dict[str, Any] = {**results.about(), "videos": len(tested.ids), "hidden_labels": tested.hidden}
    found["not_scored"] = dict(Counter(one.stage for one in tested.not_scored))
    found["classes"] = len(results.data.prepared.classes)
    for variant in tested.variants:
        found[variant] = {part: _numbers(tested.counts[column(variant, part)]) for part in PARTS}
    for _, before, after in COMPARED if tested.ids else ():
        if {before, after} <= set(tested.variants):
            pairs = {part: tested.added(part, before, after) for part in PARTS}
            found[f"{after}_against_{before}"] = {part: _pair(pair) for part, pair in pairs.items()}
    if tested.pointing:
        shown = {stream: asdict(one) if one.clips else {"clips": 0} for stream, one in tested.pointing.items()}
        found["maps_on_object"] = shown
    return found


def _numbers(counts: Counts) -> dict[str, Any]:
    if not counts.videos:  # JSON has no NaN
        return {"videos": 0}
    named = {"top1": counts.top1(), "mean_class_accuracy": counts.mean_class_accuracy()}
    return {
        "videos": counts.videos,
        "top1_hits": counts.top1_hits,
        "classes_with_videos": int((counts.total_by_class > 0).sum()),
        **{name: {"value": i.value, "low": i.low, "high": i.high} for name, i in named.items()},
    }


def _pair(pair: Paired) -> dict[str, Any]:
    found = pair.difference()
    return {
        "videos": pair.videos,
        "gained": pair.gained,
        "lost": pair.lost,
        "difference": {"value": found.value, "low": found.low, "high": found.high},
        "mcnemar_p": pair.p_value(),
    }


def flat_metrics(results: Results, tested: Tested) -> dict[str, float]:
    """Return accuracies by the names under which they are logged, percent: test/fold1/with/fused/top1."""
    flat: dict[str, float] = {}
    for variant in tested.variants if tested.ids else ():
        for part in PARTS:
            counts, where = tested.counts[column(variant, part)], f"test/fold{results.job.fold}/{variant}/{part}"
            flat[f"{where}/top1"] = 100 * counts.top1().value
            flat[f"{where}/mean_class"] = 100 * counts.mean_class_accuracy().value
    pointing = {stream: one.auc.value for stream, one in tested.pointing.items() if one.clips}
    return flat | {f"test/fold{results.job.fold}/maps/{s}/on_object_auc": value for s, value in pointing.items()}


def write_results(results: Results, tested: Tested, out: str) -> str:
    """Write every file but the predictions, which lie in `out` already, and return the table."""
    text, classes = table(results, tested), results.data.prepared.classes
    files = {
        "table.txt": (text + "\n").encode(),
        "metrics.json": (json.dumps(metrics(results, tested), indent=1, allow_nan=False) + "\n").encode(),
        "not_scored.csv": _not_scored_csv(tested).encode(),
    }
    counts = tested.counts[column(tested.best_variant, "fused")]
    if counts.videos:
        title = f"{results.title()} ({NAMES[tested.best_variant]}, fusion)"
        files |= {
            "per_class.csv": report.per_class_csv(counts, classes).encode(),
            "confusion.csv": report.confusion_csv(counts, classes).encode(),
            "confusion.png": png(draw_confusion(counts, classes, title)),
        }
    for name, data in files.items():
        storage.publish_bytes(storage.join(out, name), data)
    return text


def _not_scored_csv(tested: Tested) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "stage", "reason"])
    writer.writerows([one.id, one.stage, one.reason] for one in tested.not_scored)
    return out.getvalue()


def folds_table(folds: Sequence[tuple[Results, Tested]]) -> str:
    """Return the accuracies of every fold and their mean, with an interval that knows videos shared by folds."""
    names = [f"fold {results.job.fold}" for results, _ in folds]
    lines = [
        f"{', '.join(results.system.name for results, _ in folds)}: top-1 %",
        f"{'':14}{''.join(f'{name:>9}' for name in names)}{'mean':>9}{'95 %':>18}",
    ]
    for variant in _shared(folds):
        lines.append(NAMES[variant])
        for part in PARTS:
            name = column(variant, part)
            cells = "".join(f"{_percent(tested.counts[name].top1()):>9}" for _, tested in folds)
            mean = mean_of_folds([tested.hits(name) for _, tested in folds])
            lines.append(f"  {SHOWN[part]:12}{cells}{_percent(mean):>9}{_range(mean):>18}")
    return "\n".join([*lines, *_paper(folds[0][0].system)])


def folds_metrics(folds: Sequence[tuple[Results, Tested]]) -> dict[str, Any]:
    """Return the means over folds, as JSON-compatible dictionaries."""
    found: dict[str, Any] = {"folds": [results.job.fold for results, _ in folds]}
    found["systems"] = [results.system.name for results, _ in folds]
    for variant in _shared(folds):
        found[variant] = {}
        for part in PARTS:
            mean = mean_of_folds([tested.hits(column(variant, part)) for _, tested in folds])
            classes = [tested.counts[column(variant, part)].mean_class_accuracy(draws=1).value for _, tested in folds]
            top1 = {"value": mean.value, "low": mean.low, "high": mean.high}
            found[variant][part] = {"top1": top1, "mean_class_accuracy": sum(classes) / len(classes)}
    return found


def _shared(folds: Sequence[tuple[Results, Tested]]) -> list[Variant]:
    """Return the variants that every fold was tested in."""
    first = folds[0][1].variants
    return [variant for variant in first if all(variant in tested.variants and tested.ids for _, tested in folds)]
