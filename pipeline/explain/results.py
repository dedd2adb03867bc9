"""The files of an evaluation: table, metrics, classes, confusions, explanations, and agreement with known truth."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval import place, report, truth
from pipeline.eval.evaluate import Evaluation
from pipeline.eval.faithful import Benchmark
from pipeline.eval.load import Inversion, Recogniser
from pipeline.eval.predict import PredictJob
from pipeline.explain.confusion import draw_confusion
from pipeline.explain.deletion_curves import draw_curves
from pipeline.explain.page import png


@dataclass(frozen=True, kw_only=True)
class Results:
    """What was evaluated on what."""

    network: Recogniser
    dataset: PreparedDataset
    job: PredictJob
    differences: tuple[str, ...]
    """How the data differ from the training's; empty when they are the same."""

    @property
    def name(self) -> str:
        """Name of the results, fit for a folder: recipe, step, split, protocol, inversions."""
        inverted = "" if self.job.inversions == ("none",) else f"-{'-'.join(self.job.inversions)}"
        fold = f"{self.job.fold}" if self.dataset.folds > 1 else ""
        protocol = self.job.protocol.name.replace(" ", "-")
        return f"{self.network.recipe.name}-step{self.network.step}-{self.job.split}{fold}-{protocol}{inverted}"

    def about(self) -> dict[str, str]:
        """Return everything that a reader needs to repeat the evaluation."""
        network, job = self.network, self.job
        return {
            "recipe": network.recipe.name,
            "network": f"{network.recipe.model.arch}, {network.recipe.model.backbone}-{network.recipe.model.depth}",
            "checkpoint": network.checkpoint,
            "step": str(network.step),
            "mlflow_run": network.run_id,
            "data": f"{self.dataset.name} at {self.dataset.root}",
            "passport": self.dataset.passport,
            "trained_on": network.passport.digest,
            "differences": "; ".join(self.differences),
            "split": f"{job.split}, fold {job.fold}",
            "protocol": job.protocol.describe(),
            "precision": str(job.precision),
        }

    def title(self) -> str:
        """Return one line above the table."""
        network, job = self.network, self.job
        return (
            f"{network.recipe.name}, step {network.step}: {self.dataset.name} {job.split}"
            f"{f' fold {job.fold}' if self.dataset.folds > 1 else ''}, {job.protocol.describe()}"
        )

    def flat_metrics(self, evaluation: Evaluation, judged: report.Judged | None = None) -> dict[str, float]:
        """Return accuracies, and areas of the explanations, by the names under which they are logged."""
        prefix = f"eval/{self.job.split}/{self.job.protocol.name.replace(' ', '_')}"
        flat = report.flat_metrics(evaluation, prefix)
        if judged is not None:
            flat |= report.explanations_flat(judged, prefix)
        return flat


def write_results(
    results: Results, evaluation: Evaluation, out: str, truth_uri: str = "", judged: report.Judged | None = None
) -> str:
    """Write every file but the predictions, which lie in `out` already, and return the table.

    Args:
        results: what was evaluated.
        evaluation: the counts.
        out: folder, a path or URI.
        truth_uri: truth of a synthetic data set; empty for none.
        judged: how faithful explanations of some clips are (`judge`); None where it was not measured.

    Raises:
        UserError: truth asked for without temporal attention in the predictions, or truth of other videos.
    """
    first = results.job.inversions[0]
    counts, classes = evaluation.perception[first], results.dataset.classes
    text = report.table(evaluation, results.title())
    if results.differences:
        text += f"\nNot the training's data: {'; '.join(results.differences)}."
    numbers: dict[str, Any] = {**results.about(), **report.metrics(evaluation)}
    if truth_uri:
        agreement = _agreement(results, storage.join(out, "predictions.parquet"), truth_uri)
        text += "\n" + agreement.sentence()
        # A split whose clips show only one kind of frame has no agreement to state, and JSON has no NaN.
        numbers["temporal_attention_against_truth"] = asdict(agreement) if agreement.clips else {"clips": 0}
    if judged is not None:
        text += "\n\n" + report.explanations_table(judged)
        numbers["explanations"] = report.explanations_metrics(judged)
        picture = draw_curves(judged.benchmark, results.title())
        storage.publish_bytes(storage.join(out, "explanations.png"), png(picture))
    storage.publish_bytes(storage.join(out, "table.txt"), (text + "\n").encode())
    storage.publish_bytes(
        storage.join(out, "metrics.json"),
        (json.dumps(numbers, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode(),
    )
    if counts.videos:
        picture = draw_confusion(counts, classes, f"{results.title()} ({report.INVERSION_NAMES[first]})")
        storage.publish_bytes(storage.join(out, "confusion.png"), png(picture))
        storage.publish_bytes(storage.join(out, "per_class.csv"), report.per_class_csv(counts, classes).encode())
        storage.publish_bytes(storage.join(out, "confusion.csv"), report.confusion_csv(counts, classes).encode())
    return text


def judge(results: Results, evaluation: Evaluation, benchmark: Benchmark, truth_uri: str = "") -> report.Judged:
    """Hold each method's explanations against the truth, and add what inverting attention costs.

    Args:
        results: what was evaluated.
        evaluation: the counts.
        benchmark: the explanations, and what happens to the network as they are followed.
        truth_uri: truth of a synthetic data set; empty for none.

    Raises:
        UserError: no such truth, or truth of other videos.
    """
    active = truth.read_truth(truth_uri) if truth_uri else {}
    # People who know when an action is need not know where.
    known = place.read_known(truth_uri) if truth_uri and place.has_boxes(truth_uri) else {}
    places = place.centre_places(results.dataset, results.job.protocol.clip) if known else {}
    return report.judged(benchmark, active, known, places, evaluation.inversion_drops())


def _agreement(results: Results, predictions: str, truth_uri: str) -> truth.Agreement:
    """Compare the network's own temporal attention with the truth."""
    invert: Inversion = "none"
    filesystem, path = storage.resolve(predictions)
    columns = ["id", "inversion", "temporal", "idx", "valid"]
    table = pq.read_table(path, filesystem=filesystem, columns=columns)
    table = table.filter(pc.and_(pc.equal(table["inversion"], invert), pc.is_valid(table["temporal"])))
    if not len(table):
        raise UserError(
            problem(
                "The predictions hold no temporal attention to compare with the truth",
                got=f"--maps {results.job.maps}, inversions {', '.join(results.job.inversions)}, "
                f"a {results.network.recipe.model.arch}",
                allowed="an st_abn network, as trained, with its temporal attention kept",
                fix="use --invert none or all, and --maps temporal or all; or leave --truth away",
            )
        )
    return truth.compare(table.to_pylist(), truth.read_truth(truth_uri))
