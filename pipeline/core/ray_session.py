"""One way into Ray for every job: attach to the cluster a job was submitted to, or start one on this machine.

`ray job submit --working-dir . -- jobs/x.py` sets RAY_ADDRESS and ships the code; plain `python jobs/x.py` finds no
address and starts a cluster of its own that ends with the process. Neither needs a runtime environment.
"""

import logging
import math
import os
from pathlib import Path

import ray

from pipeline.core.errors import UserError, problem

OVERPROVISION = 4
"""Logical CPUs that a local cluster may offer for each real one. A run needs its training processes and its feed at
the same time; on two cores they share, which is slow, but with two logical CPUs they would wait for each other for
ever. Beyond this factor the preflight refuses the run instead."""

DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # a report waits for the next poll; Ray's 2 s stall short epochs
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # the patch sends every printed line twice
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # keeps CUDA_VISIBLE_DEVICES of tasks that ask for no GPU; Ray's future
}
"""Environment that Ray reads when it starts, set unless the user has set it. RAY_AUTH_MODE is missing on purpose: Ray
reads it while it is imported, and a process that sets it later starts servers that demand a token nobody made."""

QUIET = {
    "ray.data": logging.WARNING,
    "ray.data._internal.progress": logging.ERROR,  # "progress bars are off": by us
    "ray._private.authentication.authentication_token_setup": logging.ERROR,  # "a token is demanded": it should be
}
"""Loggers that tell every run the same."""


def connect(cpus: float = 0.0) -> None:
    """Connect this process to Ray; a process that is connected already stays as it is.

    Args:
        cpus: logical CPUs that the job will hold at the same time. A local cluster offers them even when the machine
            has fewer, up to `OVERPROVISION` times its cores.
    """
    if ray.is_initialized():
        return
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    for chatty, level in QUIET.items():
        logging.getLogger(chatty).setLevel(level)
    if os.environ.get("RAY_ADDRESS"):
        _attach(os.environ["RAY_ADDRESS"])
        return
    # With RAY_AUTH_MODE unset, Ray makes a token for the new cluster and demands it.
    # The dashboard is no decoration: without its process there is no job server and no state API, and without the
    # state API Ray Train cannot free the workers of a trial that was stopped early.
    # Nobody preempts this machine, and the watcher logs an error about itself in every run.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    ray.init(address="local", num_cpus=logical_cpus(cpus), include_dashboard=True, logging_level=logging.WARNING)
    _close_token_file()


def _attach(address: str) -> None:
    """Connect to a running cluster.

    Raises:
        UserError: nobody answers there, or the cluster refuses this client.
    """
    try:
        ray.init(logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            problem(
                f"No Ray cluster could be joined ({str(error).strip().splitlines()[0] if str(error) else error!r})",
                got=f"RAY_ADDRESS={address}, RAY_AUTH_MODE={os.environ.get('RAY_AUTH_MODE', 'unset')}",
                allowed="the address of a running cluster, and the token of that cluster",
                fix="export RAY_AUTH_MODE=token (and RAY_AUTH_TOKEN_PATH) on clients too, or unset RAY_ADDRESS to "
                "start a local cluster",
            )
        ) from error


def logical_cpus(wanted: float) -> int:
    """Return the CPUs that a local cluster declares when a job wants `wanted` of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(cores, min(math.ceil(wanted), OVERPROVISION * cores))


def _close_token_file() -> None:
    """Make Ray's token readable by its owner alone; Ray writes it with the umask's mode."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if path.exists() and path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o600)
