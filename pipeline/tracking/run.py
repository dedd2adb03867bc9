"""One MLflow run for one training run, however often the training is killed and resumed.

The driver begins and ends the run; Ray Train's controller logs the points that workers report. Both find the run by
its key, a tag, so whichever of them survives goes on with the same one. MLflow being away never stops a training: it
is said loudly, points wait in memory, and the next attempt sends them too.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

from pipeline.core.errors import UserError, problem

KEY_TAG = "star.key"
PAUSE_S = 60.0
"""After a failure, points wait this long before the next attempt: a training must not stall on an absent server."""

T = TypeVar("T")


class Point(TypedDict):
    """Values of the curve at one step."""

    step: int
    time_ms: int
    """When it was measured, Unix time; sending the same point twice stores it once."""
    metrics: dict[str, float]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with dotted keys: {"optim": {"lr": 1}} -> {"optim.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _loudly(what: str) -> Callable[[Callable[..., T]], Callable[..., T | None]]:
    """Make a method that reports any failure and returns None instead of raising."""

    def decorate(method: Callable[..., T]) -> Callable[..., T | None]:
        @functools.wraps(method)
        def guarded(self: TrackedRun, *args: Any, **kwargs: Any) -> T | None:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                cause = str(error).strip().splitlines()
                text = f"{type(error).__name__}: {cause[0][:300] if cause else ''}"
                print(
                    f"WARNING MLflow at {self.uri} could not {what} ({text}). Training goes on.",
                    file=sys.stderr,
                    flush=True,
                )
                return None

        return guarded

    return decorate


class TrackedRun:
    """The MLflow run with one key; plain data, so it travels to the controller by pickling.

    Args:
        uri: tracking server URL or sqlite:////absolute/path.db.
        experiment: name of the experiment, created when absent.
        name: name of the run, for people.
        key: identity of the training run; the same after every restart.
        artifact_root: where artifacts of a new experiment go; empty leaves it to the server.
    """

    def __init__(self, uri: str, experiment: str, name: str, key: str, artifact_root: str = "") -> None:
        self.uri = uri
        self.experiment = experiment
        self.name = name
        self.key = key
        self.artifact_root = artifact_root
        self._waiting: list[Point] = []
        self._last: dict[str, int] = {}
        self._paused_until_s = 0.0

    @_loudly("begin the run")
    def begin(self, parameters: Mapping[str, Any], documents: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Create the run or take it up again, and mark it as running.

        Args:
            parameters: flat; those the run has already are left as they were first logged.
            documents: JSON artifacts by file name.
            tags: tags by name.

        Returns:
            The id of the run; None (and a warning) when MLflow cannot be reached.
        """
        client, run = self._client(), self._run()
        run_id: str = run.info.run_id
        client.update_run(run_id, status="RUNNING")
        missing = [Param(k, str(v)) for k, v in parameters.items() if k not in run.data.params]
        for start in range(0, len(missing), 100):
            client.log_batch(run_id, params=missing[start : start + 100])
        for file, document in documents.items():
            client.log_dict(run_id, document, file)
        for tag, value in tags.items():
            client.set_tag(run_id, tag, value)
        return run_id

    def log(self, points: Sequence[Point], *, now: bool = False) -> None:
        """Log points in order, each metric of each step once, however often it arrives; keep them when MLflow is away.

        Args:
            points: in the order of their steps.
            now: try even within the pause after a failure.
        """
        self._waiting.extend(points)
        if now or not self._is_paused():
            self._paused_until_s = time.monotonic() + PAUSE_S
            if self._send():
                self._paused_until_s = 0.0

    @_loudly("log the points of the curve, which wait")
    def _send(self) -> bool:
        run_id = self._run().info.run_id
        client = self._client()
        while self._waiting:
            point = self._waiting[0]
            fresh = {k: v for k, v in point["metrics"].items() if point["step"] > self._last_step(client, run_id, k)}
            client.log_batch(run_id, [Metric(k, v, point["time_ms"], point["step"]) for k, v in fresh.items()])
            self._last |= dict.fromkeys(fresh, point["step"])
            self._waiting.pop(0)
        return True

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run, unless MLflow has just failed."""
        if not self._is_paused():
            self._tag(name, value)

    @_loudly("set a tag")
    def _tag(self, name: str, value: str) -> None:
        self._client().set_tag(self._run().info.run_id, name, value)

    @_loudly("end the run")
    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Set the final status."""
        self._client().set_terminated(self._run().info.run_id, status)

    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until_s

    def _last_step(self, client: MlflowClient, run_id: str, metric: str) -> int:
        """Return the last step at which a metric was logged, by this process or one before it; -1 for none."""
        if metric not in self._last:
            history = client.get_metric_history(run_id, metric)
            self._last[metric] = max((point.step for point in history), default=-1)
        return self._last[metric]

    def _run(self) -> Run:
        """Return the run with this key, created when there is none."""
        client = self._client()
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment is None:
            location = f"{self.artifact_root}/{self.experiment}" if self.artifact_root else None
            experiment_id = client.create_experiment(self.experiment, artifact_location=location)
        else:
            experiment_id = experiment.experiment_id
        found = client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{self.key}'", max_results=1)
        if found:
            run: Run = found[0]
            return run
        return client.create_run(experiment_id, run_name=self.name, tags={KEY_TAG: self.key})

    def _client(self) -> MlflowClient:
        return client_of(self.uri)


def read_documents(uri: str, run_id: str, names: Sequence[str]) -> dict[str, Any]:
    """Return JSON artifacts of a run by file name.

    Raises:
        UserError: MLflow cannot be reached, or has no such run or artifact.
    """
    client = client_of(uri)
    try:
        with tempfile.TemporaryDirectory() as folder:
            paths = {name: client.download_artifacts(run_id, name, folder) for name in names}
            return {name: json.loads(Path(path).read_text()) for name, path in paths.items()}
    except (MlflowException, OSError) as error:
        raise UserError(
            problem(
                f"The MLflow run could not be read ({str(error).strip().splitlines()[0][:200]})",
                got=f"run {run_id} at {uri}",
                allowed="the id of a run that jobs/train_stabn.py recorded there",
                fix="check the id, and give its --storage or tracking.uri=...",
            )
        ) from error


def make_database(file: Path) -> None:
    """Make MLflow's tables in a SQLite file that is not there yet: whole, or not at all.

    MLflow makes them in the first run that looks for them, and a process killed on the way leaves a file that no later
    run can use. Two runs that are first at the same time disturb each other likewise.
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".tmp-") as folder:
        new = Path(folder) / file.name
        client_of(f"sqlite:///{new}").search_experiments(max_results=1)
        new.replace(file)


def client_of(uri: str) -> MlflowClient:
    """Return a client that gives up on an absent server within seconds, not MLflow's minutes, and says little."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for chatty in ("alembic", "mlflow.store.db"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def now_ms() -> int:
    """Return the time of a point measured now, Unix milliseconds."""
    return time.time_ns() // 1_000_000
