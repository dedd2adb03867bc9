"""On what something was measured: processor, memory, software. Names of people and places are left out."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "ray", "mlflow", "numpy", "pyarrow", "opencv-python-headless", "numba")


def made_by(is_cluster: bool, code: Mapping[str, str]) -> dict[str, str]:
    """Return machine and code for the record of what they made.

    Args:
        is_cluster: it runs on a cluster, which may be of any machines.
        code: commit, and whether files were changed, as `train.runs.software` says.
    """
    return {
        "machine": "a Ray cluster, which its runs in MLflow describe" if is_cluster else hardware(),
        "software": software(),
        "commit": code["commit"] + (" with changes" if code["dirty"] == "true" else ""),
    }


def hardware() -> str:
    """Return processor, logical CPUs, memory and GPUs in one line."""
    model = _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    memory = _field("/proc/meminfo", "MemTotal")
    gib = f"{int(memory.split()[0]) / 2**20:.0f} GiB of memory" if memory else "memory unknown"
    return f"{model}, {os.cpu_count()} logical CPUs, {gib}, {gpus() or 'no GPU'}"


def gpus() -> str:
    """Return the names of the GPUs that the driver sees; empty when there is none."""
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 (no input in it)
    except FileNotFoundError:
        return ""
    names = found.stdout.split("\n") if found.returncode == 0 else []
    return ", ".join(name.strip() for name in names if name.strip())


def software() -> str:
    """Return the versions that determine results."""
    told = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            told.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(told)


def _field(file: str, name: str) -> str:
    """The value of the first `name: value` line of one of the kernel's files; empty when there is none."""
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name)
    return next(found, "")
