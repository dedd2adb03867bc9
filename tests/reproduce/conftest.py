"""A desk with cheap cells, on data that look prepared."""

import json
import runpy
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.data.store.catalog import CatalogRow, count

PROGRAM = Path(__file__).parent / "programs" / "cheap_cells.py"


@pytest.fixture(scope="session")
def cheap():
    """What the program has: CELLS, RECIPE, prepare, desk_at, shell; and its path."""
    return SimpleNamespace(**runpy.run_path(str(PROGRAM)), program=PROGRAM)


@pytest.fixture(scope="session")
def lay_frames():
    """What lays a manifest where a prepared data set would be: its name, and how many videos its splits have."""

    def lay(root, name, **by_split):
        root.mkdir(parents=True, exist_ok=True)
        rows = [
            CatalogRow(id=f"{split}-{n}", path="x", label=0, split=(split,), status="readable", shard="s", row=n)
            for split, videos in by_split.items()
            for n in range(videos)
        ]
        manifest = {"name": name, "passport": f"of {name}", "counts": asdict(count(rows))}
        (root / "manifest.json").write_text(json.dumps(manifest))
        return f"{name}={root}"

    return lay


@pytest.fixture
def desk(cheap, tmp_path):
    cheap.prepare(tmp_path / "given")
    return cheap.desk_at(tmp_path)
