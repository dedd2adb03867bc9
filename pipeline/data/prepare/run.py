"""Turn a listing into a prepared data set: pack shards, do the new ones, reconcile, publish the manifest last.

The work, its order and its bytes depend on the listing, the sources and the shards that are there (`packing.py`). A
sidecar makes a shard count: whatever is killed, the next run finds whole shards or none.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.packing import Packing, Signatures, signatures_of
from pipeline.data.prepare.shard_task import ABSENT, ShardTask, Tally, prepare_shard
from pipeline.data.records import Listing
from pipeline.data.store import catalog
from pipeline.data.store.catalog import QUARANTINED, CatalogRow, Counts
from pipeline.data.store.prepared import FORMAT, QUARANTINE
from pipeline.data.store.published import CATALOG, MANIFEST
from pipeline.data.store.sidecars import (
    Sidecars,
    finished_sidecars,
    prune,
    read_sidecars,
    sizes_of,
    sweep,
    versions_in,
)
from pipeline.data.video import decode
from pipeline.data.video.guard import Guard


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What is prepared, and how strictly."""

    ingest: IngestConfig = field(default_factory=IngestConfig)
    shard_videos: int = 64
    """Listed videos of a shard; also what one task does."""
    limit_s: float = 120.0
    """Longest time that one video may take."""
    quarantine_missing: bool = False
    """Listed files that are not there are quarantined; otherwise they stop the run before it begins."""
    replace: bool = False
    """What lies at the root may be replaced even where it looks like another data set."""
    verify: bool = False
    """Trust no size and no date: hash every source and every shard again, and redo what differs."""
    retry: tuple[str, ...] = ()
    """Reasons whose videos are tried again although their files did not change, such as timeout."""

    def __post_init__(self) -> None:
        unknown = [reason for reason in self.retry if reason not in decode.REASONS]
        if unknown or self.shard_videos < 1 or self.limit_s <= 0 or self.ingest.short_side < 1:
            allowed = f"positive numbers; reasons to retry among {', '.join(decode.REASONS)}"
            fix = "correct the value"
            raise UserError(problem("The preparation is impossible", got=self, allowed=allowed, fix=fix))


Tell = Callable[[int, int], None]
"""Called now and then with (videos done, quarantined) in all."""
Engine = Callable[[Sequence[ShardTask], Tell], None]
"""Does all tasks by `prepare_shard`, anywhere, in any order."""


@dataclass(frozen=True)
class Report:
    """What a preparation did."""

    counts: Counts
    quarantined: tuple[CatalogRow, ...]
    noted: tuple[CatalogRow, ...]
    """Readable videos with a remark."""
    passport: str
    shards_done: int
    shards_kept: int
    published: bool
    """False when even the manifest was already right: nothing was touched."""


def prepare(
    listing: Listing, root: str, config: PrepareConfig, engine: Engine, tell_of: Callable[[int], Tell] | None = None
) -> Report:
    """Bring the prepared data set at `root` up to date with `listing`; does nothing where nothing changed.

    Args:
        listing: what the official files list.
        root: path or URI of the prepared data set; one preparation at a time writes there.
        config: what is prepared.
        engine: `in_process`, or `prepare_ray.on_ray()`.
        tell_of: makes the receiver of progress from the number of videos that there are to do.

    Raises:
        UserError: no videos, ids that occur twice, another data set at `root` (without `replace`), or files that are
            not there (without `quarantine_missing`).
    """
    root = storage.absolute(root)
    _refuse_unusable(listing)
    if not config.replace:
        _refuse_another(listing, root)
    signatures = signatures_of(listing)
    if not config.quarantine_missing:
        _refuse_missing(listing, signatures)
    sweep(root)
    sizes = sizes_of(root)
    before = read_sidecars(root, sizes)
    ingest, limit_s = config.ingest, config.limit_s
    packing = Packing(listing, root, signatures, shard_videos=config.shard_videos, ingest=ingest, limit_s=limit_s)
    kept, new = packing.tasks(before, sizes, config.retry)
    doubted = tuple(replace(task, verify=True) for task in kept) if config.verify else ()
    if work := sorted((*doubted, *new), key=lambda task: task.index):
        videos = sum(len(task.records) for task in work)
        engine(work, tell_of(videos) if tell_of else lambda *_: None)
    return _publish(listing, {task.index for task in (*kept, *new)}, before, root, config)


def _refuse_unusable(listing: Listing) -> None:
    if not listing.records:
        fix = "check --source and --metadata"
        raise UserError(problem(f"{listing.name} lists no video", got=listing.root, allowed="at least one", fix=fix))
    (twice, times), *_ = Counter(record.id for record in listing.records).most_common(1)
    if times > 1:
        fix = "remove the second line from the metadata"
        raise UserError(problem("A video is listed twice", got=twice, allowed="every id once", fix=fix))


def _refuse_another(listing: Listing, root: str) -> None:
    """Keep a slip in `--out` or `--source` from replacing another data set.

    The name says little: synthetic videos come as ssv2 too, and everybody's own videos are "folder".
    """
    try:
        held = storage.read_json(storage.join(root, MANIFEST))
        ids = {row.id for row in catalog.from_parquet(storage.read_bytes(storage.join(root, CATALOG)))}
    except (FileNotFoundError, ValueError):  # nothing is published there, or nobody can read it any more
        return
    name, classes = held.get("name"), tuple(held.get("classes", ()))
    listed = len(ids & {record.id for record in listing.records})
    if name == listing.name and classes == listing.classes and 2 * listed >= len(ids):
        return
    lone = min(set(classes) ^ set(listing.classes), default="")
    raise UserError(
        problem(
            f"{root} holds another prepared data set",
            got=f"{name}, {len(classes)} classes, {len(ids)} videos, to be replaced by {listing.name}, "
            f"{len(listing.classes)} classes, {len(listing.records)} videos; {listed} of the {len(ids)} are still "
            "listed" + (f", and class {lone!r} is in one of them only" if lone else ""),
            allowed="the same name and classes, and at least half of its videos still listed",
            fix="choose another --out, or pass --replace to replace it",
        )
    )


def _refuse_missing(listing: Listing, signatures: Signatures) -> None:
    absent = [record.path for record in listing.records if signatures[record.id] == ABSENT]
    if absent:
        first = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise UserError(
            problem(
                f"{len(absent)} of {len(listing.records)} listed videos are not below {storage.absolute(listing.root)}",
                got=first,
                allowed="every listed file, or an explicit decision to go without",
                fix="correct --source, fetch the files, or pass --quarantine-missing to record them as missing",
            )
        )


def _publish(
    listing: Listing,
    numbers: set[int],
    before: Sidecars,
    root: str,
    config: PrepareConfig,
) -> Report:
    """Join the sidecars to catalog, quarantine and manifest, reconcile, publish, delete what nothing refers to."""
    names = list(sizes_of(root))
    sidecars = finished_sidecars(root, names, numbers)
    row_of = {values["id"]: catalog.row_from(values) for sidecar in sidecars.values() for values in sidecar["rows"]}
    packed = sum(len(sidecar["rows"]) for sidecar in sidecars.values())
    assert packed == len(row_of) == len(listing.records), "every listed video has one row"
    rows = tuple(row_of[record.id] for record in listing.records)
    counts, table = catalog.count(rows), catalog.to_parquet(rows)
    codec = config.ingest.codec.to_dict()
    identity = catalog.passport_of(rows, classes=listing.classes, codec=codec, short_side=config.ingest.short_side)
    manifest = {
        "format": FORMAT,
        "name": listing.name,
        "classes": listing.classes,
        "codec": codec,
        "short_side": config.ingest.short_side,
        "catalog_sha256": hashlib.sha256(table).hexdigest(),
        "counts": asdict(counts),
        "passport": identity.digest,
        "passport_parts": identity.parts,
        "shards": [sidecar["shard"] for sidecar in sidecars.values()],
        "made_with": versions_in(sidecars),
    }
    quarantined = tuple(row for row in rows if row.status == QUARANTINED)
    written = [
        storage.publish_bytes(storage.join(root, CATALOG), table),
        storage.publish_bytes(storage.join(root, QUARANTINE), catalog.to_parquet(quarantined)),
        storage.write_json(storage.join(root, MANIFEST), manifest),
    ]
    prune(root, names, sidecars)
    noted = tuple(row for row in rows if row.note)
    done = sum(sidecar != before.get(number) for number, sidecar in sidecars.items())
    return Report(counts, quarantined, noted, identity.digest, done, len(numbers) - done, done > 0 or any(written))


def in_process(tasks: Sequence[ShardTask], tell: Tell) -> None:
    """The engine without Ray: one task after the other, each video still in the guard's child."""
    tally = Tally()

    def tick(shard: int, done: int, quarantined: int) -> None:
        tally.add(shard, done, quarantined)
        tell(*tally.totals())

    with Guard(tasks[0].limit_s) as guard:
        for task in tasks:
            prepare_shard(task, guard, tick)
