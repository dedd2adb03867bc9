"""What the jobs share: errors for people, and recipes by name.

Light to import: a job that finds nothing to do, or needs no network, has not waited for torch.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from jobs import recipes
from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem

if TYPE_CHECKING:
    from pipeline.train.recipe import Recipe

R = TypeVar("R")
WRONG_REQUEST = 2
TOO_MANY_QUARANTINED = 3
INTERRUPTED = 130
SCRATCH = os.path.join("runtime_resources", "working_dir_files")
"""Part of the path of the copy of a submitted job's folder, in which the job runs; Ray deletes it after the job."""


def guarded(main: Callable[[list[str] | None], int], arguments: list[str] | None = None) -> int:
    """Run a job's main function; a person's mistake becomes one line and exit status 2, not a traceback."""
    try:
        return main(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return WRONG_REQUEST
    except KeyboardInterrupt:
        return INTERRUPTED


def allowed_of(text: str, listed: int) -> int:
    """Return how many quarantined videos `--allow-quarantine` permits.

    Raises:
        UserError: neither a count nor a share.
    """
    try:
        allowed = round(float(text) * listed) if "." in text else int(text)
    except ValueError:
        allowed = -1
    if not 0 <= allowed <= listed:
        fix = "write 12 for twelve videos, 0.001 for one in a thousand"
        what = "--allow-quarantine cannot be read"
        raise UserError(problem(what, got=text, allowed="a count, or a share with a point", fix=fix))
    return allowed


@overload
def all_recipes() -> dict[str, Callable[[], Recipe]]: ...
@overload
def all_recipes(kind: type[R]) -> dict[str, Callable[[], R]]: ...
def all_recipes(kind: type[Any] | None = None) -> dict[str, Callable[[], Any]]:
    """Return every recipe of a kind by name: the public functions of the modules in jobs/recipes that return one."""
    from pipeline.train.recipe import Recipe

    wanted = kind or Recipe
    found: dict[str, Callable[[], Any]] = {}
    for module_info in pkgutil.iter_modules(recipes.__path__):
        module = importlib.import_module(f"{recipes.__name__}.{module_info.name}")
        found |= {
            name: function
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if function.__module__ == module.__name__
            and not name.startswith("_")
            and get_type_hints(function)["return"] is wanted
        }
    return found


@overload
def find_recipe(name: str) -> Callable[[], Recipe]: ...
@overload
def find_recipe(name: str, kind: type[R]) -> Callable[[], R]: ...
def find_recipe(name: str, kind: type[Any] | None = None) -> Callable[[], Any]:
    """Return the recipe function of that name.

    Args:
        name: the function's.
        kind: of recipe, a clip recipe unless said otherwise; each has a job of its own.

    Raises:
        UserError: there is none; names the nearest.
    """
    known: dict[str, Callable[[], Any]] = all_recipes(kind) if kind else all_recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean {near[0]}?" if near else "choose one of them"
        raise UserError(problem("There is no such recipe", got=name, allowed=", ".join(sorted(known)), fix=fix))
    return known[name]


def described(recipe: object, text: str) -> str:
    """Return everything that defines a run or a system, below `text`, for people."""
    lines = [text, ""] if text else []

    def section(values: dict[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                section(value, f"{prefix}{key}.")
            else:
                lines.append(f"{prefix}{key} = {value}")

    section(to_dict(recipe), "")
    return "\n".join(lines)


def here(path: str) -> str:
    """Return an absolute local path as the user would type it, when that is shorter; URIs stay."""
    return min(path, os.path.relpath(path), key=len) if path.startswith(os.sep) else path


def placed(option: str, path: str) -> str:
    """Return `path` so that it means the same for every process of the job; URIs and the empty path stay.

    Args:
        option: what gave the path, for the message.
        path: path or URI.

    Raises:
        UserError: a relative path in a job submitted with --working-dir, where it would lie in Ray's scratch copy.
    """
    if not path or not storage.is_local(path):
        return path
    if SCRATCH in os.getcwd() and not os.path.isabs(path.removeprefix("file://")):
        raise UserError(
            problem(
                f"A relative {option} means nothing in a submitted job, which runs in a copy of its folder that Ray "
                "deletes afterwards",
                got=path,
                allowed="an absolute path that all nodes reach, or a URI such as s3://BUCKET/KEY",
                fix="write it as one of them",
            )
        )
    return storage.absolute(path)


def path(text: str) -> str:
    """Take a path or URI from the command line: `type=` of every option that means one, its default included.

    Returns:
        It, absolute and without a slash at its end; the empty text stays.

    Raises:
        argparse.ArgumentTypeError: as `placed`; argparse names the option and ends with exit status 2.
    """
    try:
        return storage.absolute(placed("path", text)) if text else ""
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def trained(text: str) -> str:
    """Take what means a trained network, as it is: refused like a path when it is one, and no name, id or models:/."""
    if os.sep in text and not text.startswith("models:"):
        path(text)
    return text


def address(text: str) -> str:
    """Take where a database or a server is, as it is: refused like a path when it is a file."""
    path(text.removeprefix("sqlite:///"))
    return text


def given_data(root: str) -> str:
    """Return the data set of a recipe, as `placed` does.

    Raises:
        UserError: there is none; or as `placed`.
    """
    if not root:
        fix = "add --data ROOT, a folder or URI that jobs/prepare_data.py made"
        raise UserError(problem("No data set was given", got="no --data", allowed="a prepared data set", fix=fix))
    return placed("data.root", root)
