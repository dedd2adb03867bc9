"""What the jobs share: errors for people, and recipes by name."""

import difflib
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable

from jobs import recipes
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.train.recipe import Recipe

WRONG_REQUEST = 2
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


def all_recipes() -> dict[str, Callable[[], Recipe]]:
    """Return every recipe by name: the public functions of the modules in jobs/recipes."""
    found: dict[str, Callable[[], Recipe]] = {}
    for module_info in pkgutil.iter_modules(recipes.__path__):
        module = importlib.import_module(f"{recipes.__name__}.{module_info.name}")
        found |= {
            name: function
            for name, function in inspect.getmembers(module, inspect.isfunction)
            if function.__module__ == module.__name__ and not name.startswith("_")
        }
    return found


def find_recipe(name: str) -> Callable[[], Recipe]:
    """Return the recipe function of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    known = all_recipes()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean {near[0]}?" if near else "choose one of them"
        raise UserError(problem("There is no such recipe", got=name, allowed=", ".join(sorted(known)), fix=fix))
    return known[name]


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
                fix=f"give {option} as one of them",
            )
        )
    return storage.absolute(path)
