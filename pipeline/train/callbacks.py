"""What Ray Train's controller does with every report: MLflow, and a line when a worker is lost.

An exception in a callback ends the run. `TrackedRun` raises none; the one that is raised here is meant to end it.
"""

import os
from typing import Any

from ray.train import Checkpoint, ControllerError, UserCallback

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.tracking.run import TrackedRun


def cause_of(error: Exception) -> BaseException:
    """Return what a worker raised, without Ray Train's wrapping."""
    cause: BaseException = getattr(error, "_base_exc", None) or getattr(error, "cause", None) or error
    return cause


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
        """Say who failed; Ray Train decides whether the run goes on, but for a person's mistake, which ends it.

        Such a mistake (a video that cannot be read, say) would be met again at every attempt.

        Raises:
            ControllerError: with the first worker's UserError; Ray Train never tries again after one.
        """
        for _, error in sorted(worker_exceptions.items()):
            if isinstance(cause := cause_of(error), UserError):
                raise ControllerError(cause)
        self._restarts += 1
        for rank, error in sorted(worker_exceptions.items()):
            lines = str(error).strip().splitlines() or [repr(error)]
            print(f"WARNING worker {rank} failed: {type(error).__name__}: {lines[-1][:300]}", flush=True)
        self._tracked.tag("star.worker_failures", str(self._restarts))
