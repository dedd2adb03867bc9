"""One task of an extraction: the flow of one frame shard's videos into one flow shard, and the shard's sidecar.

A shard is a file named by its content; its sidecar (`shards/00042.json`) holds its catalog rows, is published second,
and makes the shard count.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.data.records import PreparedVideo
from pipeline.data.store.sidecars import is_intact, publish_shard, sidecar_of, spool
from pipeline.flow.catalog import OK, QUARANTINED, FlowError, FlowRow
from pipeline.flow.config import FlowConfig
from pipeline.flow.dataset import FORMAT
from pipeline.flow.solver import Solver, versions
from pipeline.flow.store import EncodedFlow, write_shard
from pipeline.flow.tree import Tree, read_tree

IMPORTED = "imported"
"""The backend of flow that came from a tree of files."""
DAMAGED_SHARD = "its frame shard is not what the manifest describes; run jobs/prepare_data.py with --verify"


@dataclass(frozen=True)
class FlowTask:
    """One unit of work: the videos of one frame shard into one flow shard."""

    number: int
    """Of the frame shard, and so of the flow shard."""
    root: str
    """Of the flow set."""
    frames_root: str
    """Of the prepared data set."""
    frames_shard: str
    frames_sha256: str
    """Of the frame shard, as the manifest describes it."""
    videos: tuple[PreparedVideo, ...]
    config: FlowConfig
    tree: Tree | None = None
    """Where flow is imported from instead of being computed."""
    verify: bool = False
    """There is a shard already; redo it only if it or the frame shard is not what it was."""

    @property
    def key(self) -> str:
        """Digest of what determines the shard apart from the backend, which is recorded beside it."""
        tree = asdict(self.tree) if self.tree else None
        places = [[video.id, video.frames, video.row] for video in self.videos]
        return storage.sha256_json([FORMAT, to_dict(self.config), self.frames_sha256, tree, places])

    @property
    def pairs(self) -> int:
        """Pairs of frames, whether or not they can be had."""
        return sum(video.frames - 1 for video in self.videos)

    @property
    def sidecar(self) -> str:
        """URI of the shard's sidecar."""
        return sidecar_of(self.root, self.number)


Tick = Callable[[int, int, int], None]
"""Called now and then with (shard, pairs done in it, videos quarantined in it)."""


def make_shard(task: FlowTask, solver: Solver | None, tick: Tick) -> None:
    """Do one task: the flow of every video, the shard, then its sidecar.

    Args:
        task: what to do.
        solver: computes the flow; None for a task that imports it.
        tick: told how far it is.
    """
    if task.verify and _verified(task):
        tick(task.number, task.pairs, 0)
        return
    backend = solver.backend if solver else IMPORTED
    # An import does not read the frames.
    frames_sha256 = task.frames_sha256 if task.tree else _frames_sha256(task)
    facts = {**to_dict(task.config), "backend": backend}
    rows: list[FlowRow] = []
    with spool() as file:
        write_shard(file, _stored(task, solver, tick, rows), json.dumps(facts, sort_keys=True))
        shard = publish_shard(task.root, task.number, file)
    note = "" if frames_sha256 == task.frames_sha256 else DAMAGED_SHARD
    rows = [replace(row, note=note, shard=shard["path"] if row.status == OK else "") for row in rows]
    value = {
        "key": task.key,
        "backend": backend,
        "frames_sha256": frames_sha256,
        "shard": shard | {"videos": sum(row.status == OK for row in rows)},
        "rows": [asdict(row) for row in rows],
        "made_with": versions(backend),
    }
    storage.write_json(task.sidecar, value)


def _stored(task: FlowTask, solver: Solver | None, tick: Tick, rows: list[FlowRow]) -> Iterator[EncodedFlow]:
    """Yield the flow that there is and append a catalog row for every video of the task."""
    place, pairs = 0, 0
    before = 0
    """Pairs of finished videos, those without flow included."""

    def computed(number: int) -> None:
        nonlocal pairs
        pairs += number
        tick(task.number, pairs, len(rows) - place)

    outcomes: Iterable[EncodedFlow | FlowError]
    if task.tree:
        outcomes = (read_tree(task.tree, video) for video in task.videos)
    else:
        assert solver, "only an import needs none"
        outcomes = solver.flows(task.frames_root, task.videos, task.config, computed)
    backend = solver.backend if solver else IMPORTED
    for video, flow in zip(task.videos, outcomes, strict=True):
        if isinstance(flow, FlowError):
            rows.append(FlowRow(id=video.id, status=QUARANTINED, reason=flow.reason, detail=flow.detail))
        else:
            assert (flow.id, flow.pairs) == (video.id, video.frames - 1), "a pair for every frame but the last"
            rows.append(_row(flow, backend, place))
            place += 1
            yield flow
        before += video.frames - 1
        pairs = before
        tick(task.number, pairs, len(rows) - place)


def _row(flow: EncodedFlow, backend: str, place: int) -> FlowRow:
    digest = hashlib.sha256()
    for plane in (*flow.x_N, *flow.y_N):
        digest.update(len(plane).to_bytes(8, "little") + plane)
    return FlowRow(
        id=flow.id,
        status=OK,
        pairs=flow.pairs,
        height=flow.height,
        width=flow.width,
        backend=backend,
        sha256=digest.hexdigest(),
        row=place,
    )


def _frames_sha256(task: FlowTask) -> str:
    return storage.sha256_file(storage.join(task.frames_root, task.frames_shard))


def _verified(task: FlowTask) -> bool:
    """True when the shard, and the frame shard behind it, still have the content that the sidecar recorded."""
    if task.tree:  # whose files have no recorded digest: they are read again
        return False
    sidecar: dict[str, Any] = storage.read_json(task.sidecar)
    return is_intact(task.root, sidecar) and bool(_frames_sha256(task) == sidecar["frames_sha256"])
