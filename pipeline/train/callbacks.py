"""What Ray Train's controller does with every report: MLflow, and a line when a worker is lost.

An exception in a callback would end the run, so nothing here may raise; `TrackedRun` never does.
"""

import os
from typing import Any

from ray.train import Checkpoint, UserCallback

from pipeline.core import storage
from pipeline.tracking.run import TrackedRun


class Tracking(UserCallback):  # type: ignore[misc]  # Ray is untyped
    """Hands rank 0's points to MLflow. Lives in the controller, which outlives the workers.

    Args:
        tracked: the MLflow run.
        run: folder of the run, path or URI.
    """

    def __init__(self, tracked: TrackedRun, run: str) -> None:
        self._tracked = tracked
        self._run = run
        self._restarts = 0

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        """Log the report's points; the last report of a run tries even an MLflow that just failed."""
        report = metrics[0]
        self._tracked.log(report["points"], now=bool(report.get("final")))
        if checkpoint is not None:
            self._tracked.tag("star.checkpoint", storage.join(self._run, os.path.basename(checkpoint.path)))

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Say who failed; Ray Train decides whether the run goes on."""
        self._restarts += 1
        for rank, error in sorted(worker_exceptions.items()):
            lines = str(error).strip().splitlines() or [repr(error)]
            print(f"WARNING worker {rank} failed: {type(error).__name__}: {lines[-1][:300]}", flush=True)
        self._tracked.tag("star.worker_failures", str(self._restarts))
