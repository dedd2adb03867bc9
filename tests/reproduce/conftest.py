"""A desk with cheap cells, on data that look prepared."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

PROGRAM = Path(__file__).parent / "programs" / "cheap_cells.py"


@pytest.fixture(scope="session")
def cheap():
    """What the program has: CELLS, RECIPE, prepare, desk_at, shell; and its path."""
    return SimpleNamespace(**runpy.run_path(str(PROGRAM)), program=PROGRAM)


@pytest.fixture
def desk(cheap, tmp_path):
    cheap.prepare(tmp_path / "given")
    return cheap.desk_at(tmp_path)
