"""A prepared data set: the manifest, the catalog, and which videos a split holds.

Below its root lie `manifest.json` (published last), `catalog.parquet`, `quarantine.parquet` and `shards/*.arrow`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import PreparedVideo
from pipeline.data.store import catalog
from pipeline.data.store.catalog import CatalogRow, Passport

MANIFEST, CATALOG, QUARANTINE = "manifest.json", "catalog.parquet", "quarantine.parquet"
FORMAT = 1
"""Of the manifest and what it refers to; a reader refuses any other."""


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
        manifest, data = cls._read(root)
        if manifest.get("format") != FORMAT:
            got, fix = f"format {manifest.get('format')}", "prepare the data set again with this version"
            raise UserError(problem(f"{root} has another format", got=got, allowed=f"format {FORMAT}", fix=fix))
        found = hashlib.sha256(data).hexdigest()
        if found != manifest["catalog_sha256"]:
            got, allowed = f"a catalog of SHA-256 {found}", f"the manifest's {manifest['catalog_sha256']}"
            fix = "run jobs/prepare_data.py again; it was stopped while it published, or is running"
            what = f"Catalog and manifest of {root} do not belong together"
            raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
        rows = catalog.from_parquet(data)
        return cls(root, manifest["name"], tuple(manifest["classes"]), manifest["passport"], manifest, rows)

    @staticmethod
    def _read(root: str) -> tuple[dict[str, Any], bytes]:
        allowed = f"a folder or URI with {MANIFEST} and {CATALOG}"
        fix = "run jobs/prepare_data.py --out on it, or correct data.root"
        try:
            manifest: dict[str, Any] = storage.read_json(storage.join(root, MANIFEST))
            return manifest, storage.read_bytes(storage.join(root, CATALOG))
        except FileNotFoundError as error:
            raise UserError(problem("There is no prepared data set", got=root, allowed=allowed, fix=fix)) from error
        except ValueError as error:
            what = f"The manifest of a prepared data set is damaged ({error})"
            raise UserError(problem(what, got=root, allowed=allowed, fix=fix)) from error

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
