"""A prepared data set: the manifest, the catalog, and which videos a split holds.

Below its root lie `manifest.json` (published last), `catalog.parquet`, `quarantine.parquet` and `shards/*.arrow`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import PreparedVideo
from pipeline.data.store import catalog
from pipeline.data.store.catalog import CatalogRow, Passport
from pipeline.data.store.published import CATALOG, MANIFEST, Kind, read_published
from pipeline.data.store.shards import PREPARE

QUARANTINE = "quarantine.parquet"
FORMAT = 1
"""Of the manifest and what it refers to; a reader refuses any other."""

_KIND = Kind(
    noun="prepared data set",
    job=PREPARE,
    format=FORMAT,
    again="prepare the data set again",
    where=f"a folder or URI with {MANIFEST} and {CATALOG}",
    fix=f"run {PREPARE} --out on it, or correct data.root",
)


@dataclass(frozen=True)
class PreparedDataset:
    """An opened prepared data set; opening checks that the catalog is the one that the manifest describes."""

    root: str
    """Absolute path or URI."""
    name: str
    classes: tuple[str, ...]
    """Class texts by class index."""
    passport: str
    """Digest of everything that must be equal for two runs to be comparable."""
    manifest: Mapping[str, Any]
    rows: tuple[CatalogRow, ...]
    """Every listed video in listed order, the quarantined too."""

    @classmethod
    def open(cls, root: str) -> "PreparedDataset":
        """Read manifest and catalog.

        Raises:
            UserError: there is none, it is of another format, or a preparation stopped between catalog and manifest.
        """
        root = storage.absolute(root)
        manifest, data = read_published(root, _KIND)
        rows = catalog.from_parquet(data)
        return cls(root, manifest["name"], tuple(manifest["classes"]), manifest["passport"], manifest, rows)

    @property
    def identity(self) -> Passport:
        """The passport with the digests of its parts, for `catalog.compare_passports`."""
        return Passport(self.manifest["passport"], self.manifest["passport_parts"])

    @property
    def folds(self) -> int:
        """Official folds of the data set."""
        return len(self.rows[0].split) if self.rows else 1

    def videos(self, split: str, fold: int = 1) -> tuple[PreparedVideo, ...]:
        """Return the readable videos of a split of a fold (from 1), in listed order.

        Raises:
            UserError: no such fold, or no listed video has this split.
        """
        if not 1 <= fold <= self.folds:
            fix = f"set data.fold to 1{f' to {self.folds}' if self.folds > 1 else ''}"
            raise UserError(problem(f"{self.name} has no such fold", got=fold, allowed=f"1 to {self.folds}", fix=fix))
        listed = [row for row in self.rows if row.split[fold - 1] == split]
        if not listed:
            known = ", ".join(sorted({row.split[fold - 1] for row in self.rows}))
            fix = "set data.train_split or data.test_split to one of them"
            raise UserError(problem(f"{self.name} has no such split", got=split, allowed=known, fix=fix))
        readable = [row for row in listed if row.status == catalog.READABLE]
        return tuple(PreparedVideo(row.id, row.label, row.frames, row.shard, row.row) for row in readable)
