"""Prepared data sets that people bring: each has to be what it is said to be, and is told of when it is not whole."""

from collections.abc import Mapping
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store.published import MANIFEST
from pipeline.reproduce.official import OFFICIAL
from pipeline.reproduce.world import DATA


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
    """Make sure that every data set that people bring is there, and the one that it is said to be.

    Args:
        given: folder or URI by name.

    Raises:
        UserError: one is not there, or another one is: its results would stand beside the wrong paper's.
    """
    for name, root in given.items():
        if (found := manifest_of(name, root)["name"]) != name:
            fix = f"write {found}={root}" if found in DATA else "correct the path"
            what = f"--data {name} names another data set"
            raise UserError(problem(what, got=f"{root}, which is {found}", allowed=name, fix=fix))


def lacking(given: Mapping[str, str]) -> dict[str, str]:
    """Say of every data set that has other videos than the official one how many it has, by name.

    Args:
        given: folder or URI by name; all have been checked.
    """
    found = {}
    for name, root in given.items():
        official, counts = OFFICIAL[name], manifest_of(name, root)["counts"]["by_split"]
        here = tuple(counts.get(split, 0) for split in official.named)
        whole = (official.trained, official.tested)
        if here != whole:
            pairs = zip(official.named, here, whole, strict=True)
            told = ", ".join(f"{split} {count:,} of {of:,}" for split, count, of in pairs)
            found[name] = f"{DATA[name]} as it is given is not the whole one: {told} videos."
    return found
