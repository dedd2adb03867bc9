"""A manifest and the catalog that it vouches for: what makes a prepared data set, or a flow set, whole.

Both lie below the root; the manifest is published last and holds the catalog's digest.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem

MANIFEST, CATALOG = "manifest.json", "catalog.parquet"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is opened, in the words of messages."""

    noun: str
    job: str
    """What publishes it."""
    format: int
    """Of the manifest and what it refers to."""
    again: str
    """How it comes to have this format."""
    where: str
    """What a root is."""
    fix: str
    """What to do where there is none."""


def read_published(root: str, kind: Kind) -> tuple[dict[str, Any], bytes]:
    """Return the manifest at `root` and the bytes of its catalog.

    Raises:
        UserError: there is none, it is of another format, or its job stopped between catalog and manifest.
    """
    manifest, data = _read(root, kind)
    if manifest.get("format") != kind.format:
        got, fix = f"format {manifest.get('format')}", f"{kind.again} with this version"
        raise UserError(problem(f"{root} has another format", got=got, allowed=f"format {kind.format}", fix=fix))
    found = hashlib.sha256(data).hexdigest()
    if found != manifest["catalog_sha256"]:
        got, allowed = f"a catalog of SHA-256 {found}", f"the manifest's {manifest['catalog_sha256']}"
        fix = f"run {kind.job} again; it was stopped while it published, or is running"
        what = f"Catalog and manifest of {root} do not belong together"
        raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
    return manifest, data


def _read(root: str, kind: Kind) -> tuple[dict[str, Any], bytes]:
    try:
        manifest: dict[str, Any] = storage.read_json(storage.join(root, MANIFEST))
        return manifest, storage.read_bytes(storage.join(root, CATALOG))
    except FileNotFoundError as error:
        what = f"There is no {kind.noun}"
        raise UserError(problem(what, got=root, allowed=kind.where, fix=kind.fix)) from error
    except ValueError as error:
        what = f"The manifest of a {kind.noun} is damaged ({error})"
        raise UserError(problem(what, got=root, allowed=kind.where, fix=kind.fix)) from error
