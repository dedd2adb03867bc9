"""The shards' folder of frames, flow or maps: what counts there, what is kept, and what is deleted.

A shard is a file named by its number and its content (`shards/00042-0123456789ab.arrow`). Its sidecar
(`shards/00042.json`) says by its "key" what it was made from and by its "shard" which file that is; it is published
second and makes the shard count. So whatever is killed, the next run finds whole shards or none. One run at a time
writes to a folder.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any

from pipeline.core import storage

SHARDS = "shards"
"""The folder, below the root of what the shards belong to."""

Sidecars = Mapping[int, dict[str, Any]]
"""Shard number to its sidecar, in ascending order."""

_ABANDONED_S = 3600.0
"""Age at which a temporary file has no writer any more."""
_PARALLEL_READS = 16
_SPOOL = 64 << 20
"""Bytes of a shard kept in memory before it goes to a temporary file of the worker."""
_SIDECAR = re.compile(r"\d{5,}\.json")
_OURS = re.compile(r"\d{5,}(-[0-9a-f]{12}\.arrow|\.json)")
"""Names of shards and sidecars; what a person put beside them is never deleted."""


def sidecar_of(root: str, number: int) -> str:
    """Return the URI of a shard's sidecar."""
    return storage.join(root, SHARDS, _sidecar_name(number))


def number_of(shard: str) -> int:
    """Return the number in a shard's path."""
    return int(_name(shard).partition("-")[0])


def sweep(root: str) -> None:
    """Delete what killed writers left behind."""
    storage.sweep(storage.join(root, SHARDS), older_than_s=_ABANDONED_S)


def sizes_of(root: str) -> dict[str, int]:
    """Return bytes of every file in the shards' folder, by name."""
    return {entry.base_name: entry.size for entry in storage.list_files(storage.join(root, SHARDS))}


def numbers_of(names: Iterable[str]) -> list[int]:
    """Return the numbers of the sidecars among names, in ascending order."""
    return sorted(int(name.removesuffix(".json")) for name in names if _SIDECAR.fullmatch(name))


def read_sidecars(root: str, names: Iterable[str]) -> dict[int, dict[str, Any]]:
    """Return every sidecar by its number, in ascending order, without those that are not JSON any more.

    Args:
        root: of what the shards belong to.
        names: of the files in the shards' folder.
    """
    numbers = numbers_of(names)

    def read(number: int) -> dict[str, Any] | None:
        try:
            value: dict[str, Any] = storage.read_json(sidecar_of(root, number))
        except ValueError:
            return None
        return value

    with ThreadPoolExecutor(_PARALLEL_READS) as pool:
        found = zip(numbers, pool.map(read, numbers), strict=True)
        return {number: sidecar for number, sidecar in found if sidecar is not None}


def finished_sidecars(root: str, names: Iterable[str], numbers: Collection[int]) -> Sidecars:
    """Return the sidecars of all tasks of a run that is through, by number, and no others.

    Args:
        root: of what the shards belong to.
        names: of the files in the shards' folder, listed after the last task.
        numbers: of the shards that the run is to have.
    """
    wanted = set(numbers)
    sidecars = {number: sidecar for number, sidecar in read_sidecars(root, names).items() if number in wanted}
    assert sidecars.keys() == wanted, "every task has published its sidecar"
    return sidecars


def is_current(sidecar: Mapping[str, Any] | None, key: str, sizes: Mapping[str, int]) -> bool:
    """True when there is a sidecar of this key and the file of its shard has not been lost or cut.

    Args:
        sidecar: of a shard's number; None where there is none.
        key: digest of what the shard would be made from now.
        sizes: bytes of every file in the shards' folder.
    """
    if not sidecar or sidecar["key"] != key:
        return False
    shard = sidecar["shard"]
    return bool(sizes.get(_name(shard["path"])) == shard["bytes"])


def is_intact(root: str, sidecar: Mapping[str, Any]) -> bool:
    """True when the shard of a sidecar still has the content that the sidecar recorded; reads all of it."""
    shard = storage.join(root, sidecar["shard"]["path"])
    return storage.exists(shard) and storage.sha256_file(shard) == sidecar["shard"]["sha256"]


def versions_in(sidecars: Sidecars) -> list[dict[str, str]]:
    """Return the distinct versions that shards were made with, in an order that depends on nothing else."""
    texts = {json.dumps(sidecar["made_with"], sort_keys=True) for sidecar in sidecars.values()}
    return [json.loads(text) for text in sorted(texts)]


def spool() -> IO[bytes]:
    """Return an open file for a shard whose name is not known yet; it is gone when it is closed."""
    return tempfile.SpooledTemporaryFile(_SPOOL)


def publish_shard(root: str, number: int, file: IO[bytes]) -> dict[str, Any]:
    """Publish what was written to a file, up to where it stands, as a shard; its sidecar makes it count.

    Returns:
        "path" below the root, "sha256" and "bytes", as the sidecar keeps them.
    """
    size = file.tell()
    file.seek(0)
    sha256 = storage.sha256_of(file)
    path = f"{SHARDS}/{number:05d}-{sha256[:12]}.arrow"
    file.seek(0)
    with storage.publish(storage.join(root, path)) as target:
        shutil.copyfileobj(file, target)
    return {"path": path, "sha256": sha256, "bytes": size}


def prune(root: str, names: Iterable[str], sidecars: Sidecars) -> None:
    """Delete shards and sidecars of earlier states, after the manifest has stopped referring to them.

    Args:
        root: of what the shards belong to.
        names: of the files in the shards' folder.
        sidecars: all that the manifest stands for.
    """
    needed = {_name(sidecar["shard"]["path"]) for sidecar in sidecars.values()}
    needed |= {_sidecar_name(number) for number in sidecars}
    for name in names:
        if name not in needed and _OURS.fullmatch(name):
            storage.delete(storage.join(root, SHARDS, name))


def _sidecar_name(number: int) -> str:
    return f"{number:05d}.json"


def _name(path: str) -> str:
    return path.rpartition("/")[2]
