"""A flow set: the manifest, the catalog, and the flow of a video by its id.

Below its root lie `settings.json` (published first), `manifest.json` (last), `catalog.parquet` and `shards/*.arrow`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import Passport, compare_passports
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.published import CATALOG, MANIFEST, Kind, read_published
from pipeline.flow import catalog
from pipeline.flow.catalog import FlowRow
from pipeline.flow.config import FlowConfig
from pipeline.flow.store import JOB, EncodedFlow, read_flow

SETTINGS = "settings.json"
FLOW = "flow"
"""Folder of the prepared data set below which its flow sets lie by default."""
FORMAT = 1
"""Of the manifest and what it refers to; a reader refuses any other."""

_KIND = Kind(
    noun="flow set",
    job=JOB,
    format=FORMAT,
    again="extract the flow again",
    where=f"a folder or URI with {MANIFEST} and {CATALOG}, such as PREPARED/{FLOW}/0123abcd",
    fix=f"run {JOB}, or correct the path",
)


@dataclass(frozen=True)
class FlowVideo:
    """The place of a video's flow."""

    id: str
    pairs: int
    """One less than frames; pair i leads from frame i to frame i + 1."""
    height: int
    width: int
    shard: str
    """Path of the shard below the flow set's root."""
    row: int
    """Record batch of the shard."""


@dataclass(frozen=True)
class FlowDataset:
    """An opened flow set; opening checks that the catalog is the one that the manifest describes."""

    root: str
    """Absolute path or URI."""
    passport: str
    """Digest of everything that must be equal for two runs to be comparable."""
    bound: float
    """Pixels that level 255 stands for."""
    videos: Mapping[str, FlowVideo]
    """Those that have flow, by id, in listed order."""
    manifest: Mapping[str, Any]
    rows: tuple[FlowRow, ...]
    """Every readable video of the prepared data set in listed order, the quarantined too."""

    @classmethod
    def open(cls, root: str) -> "FlowDataset":
        """Read manifest and catalog.

        Raises:
            UserError: there is none, it is of another format, or an extraction stopped between catalog and manifest.
        """
        root = storage.absolute(root)
        manifest, data = read_published(root, _KIND)
        rows = catalog.from_parquet(data)
        videos = {
            row.id: FlowVideo(row.id, row.pairs, row.height, row.width, row.shard, row.row)
            for row in rows
            if row.status == catalog.OK
        }
        return cls(root, manifest["passport"], manifest["settings"]["bound"], videos, manifest, rows)

    @property
    def identity(self) -> Passport:
        """The passport with the digests of its parts."""
        return Passport(self.manifest["passport"], self.manifest["passport_parts"])

    @property
    def frames(self) -> Passport:
        """The passport of the frames that the flow was made from."""
        return Passport(self.manifest["frames"]["passport"], self.manifest["frames"]["parts"])

    def read(self, video_id: str) -> EncodedFlow:
        """Return the flow of one video, still compressed.

        Raises:
            UserError: the set has no flow of this video; says why, if it is quarantined.
        """
        if video_id in self.videos:
            video = self.videos[video_id]
            return read_flow(self.root, video.shard, video.row)
        why = next((f"{row.reason}: {row.detail}" for row in self.rows if row.id == video_id), "not in the catalog")
        allowed, fix = f"one of {len(self.videos)} ids", "leave the video out, or mend it and extract again"
        raise UserError(problem(f"There is no flow of a video ({why})", got=video_id, allowed=allowed, fix=fix))

    def check_belongs(self, prepared: PreparedDataset) -> None:
        """Make sure that this is the flow of those frames.

        Raises:
            UserError: it was made from other frames; says in what they differ.
        """
        if self.frames.digest == prepared.passport:
            return
        lines = compare_passports(self.frames, prepared.identity)
        raise UserError(
            problem(
                f"The flow in {self.root} is not that of the frames in {prepared.root} ({'; '.join(lines)})",
                got=f"flow of frames with passport {self.frames.digest[:12]} ({self.manifest['frames']['name']})",
                allowed=f"flow of frames with passport {prepared.passport[:12]} ({prepared.name})",
                fix=f"run {JOB} on these frames; what is up to date stays",
            )
        )


def default_root(prepared: PreparedDataset, config: FlowConfig) -> str:
    """Return where flow of these settings lies beside its frames: `flow/` and a short digest of the settings.

    The backend is no part of it: flow of one algorithm lies in one place, whatever computes it.
    """
    return storage.join(prepared.root, FLOW, storage.sha256_json(to_dict(config))[:8])


def find(prepared: PreparedDataset, root: str = "") -> FlowDataset:
    """Open the flow set at `root`, or the only one beside the frames, and check that it belongs to them.

    Raises:
        UserError: there is none, several of which one has to be chosen, or it is that of other frames.
    """
    if not root:
        beside = storage.join(prepared.root, FLOW)
        names = [entry.base_name for entry in storage.entries(beside)]
        roots = [storage.join(beside, name) for name in names]
        sets = [path for path in roots if storage.exists(storage.join(path, MANIFEST))]
        if len(sets) != 1:
            what = f"{'Several flow sets lie' if sets else 'No flow set lies'} beside the frames in {prepared.root}"
            fix = "name one of them" if sets else f"run {JOB} --data {prepared.root}"
            raise UserError(problem(what, got=", ".join(sets) or "none", allowed="one, or an explicit choice", fix=fix))
        root = sets[0]
    flow = FlowDataset.open(root)
    flow.check_belongs(prepared)
    return flow


def differences(expected: FlowDataset, actual: FlowDataset) -> tuple[str, ...]:
    """Say how two flow sets differ, one line a difference with both values; empty when they are comparable."""
    names = [line.removesuffix(" differs") for line in compare_passports(expected.identity, actual.identity)]
    return tuple(f"{name} differs{_values(name, expected, actual)}" for name in names)


def _values(name: str, expected: FlowDataset, actual: FlowDataset) -> str:
    if name == "frames":
        parts = compare_passports(expected.frames, actual.frames)
        return f": {'; '.join(parts)}"
    if name in catalog.BY_VIDEO:
        columns = catalog.BY_VIDEO[name]
        rows, others = ({r.id: [getattr(r, c) for c in columns] for r in one.rows} for one in (expected, actual))
        changed = sorted(key for key in {**rows, **others} if rows.get(key) != others.get(key))
        return f" in {len(changed)} videos, such as {', '.join(changed[:3])}"
    key = "made_with" if name == "versions" else name
    old, new = ({key: {**one.manifest, **one.manifest["settings"]}.get(key)} for one in (expected, actual))
    lines = [f"{path.removeprefix(key + '.')} {was} -> {is_}" for path, was, is_ in changes(old, new)]
    return ": " + ", ".join(line.removeprefix(f"{key} ") for line in lines)


def changes(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, old value, new value) wherever two nested dictionaries differ."""
    for key in sorted({**old, **new}):
        was, is_ = old.get(key), new.get(key)
        if isinstance(was, Mapping) and isinstance(is_, Mapping):
            yield from changes(was, is_, f"{where}{key}.")
        elif was != is_:
            yield f"{where}{key}", was, is_
