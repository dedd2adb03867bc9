"""Prepared data sets that people bring: each has to be what it is said to be."""

from collections.abc import Mapping
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store.published import MANIFEST


def manifest_of(name: str, root: str) -> Mapping[str, Any]:
    """Return the manifest of a data set that is given with --data.

    Raises:
        UserError: no prepared data set lies there.
    """
    try:
        found: dict[str, Any] = storage.read_json(storage.join(root, MANIFEST))
    except FileNotFoundError as error:
        fix = f"correct the path, or run jobs/prepare_data.py --name {name} --out on it"
        what = f"--data names no prepared data set for {name}"
        raise UserError(problem(what, got=root, allowed=f"a folder or URI with {MANIFEST}", fix=fix)) from error
    return found


def check_given(given: Mapping[str, str]) -> None:
    """Open every data set that people bring.

    Args:
        given: folder or URI by name.

    Raises:
        UserError: one is not there.
    """
    for name, root in given.items():
        manifest_of(name, root)
