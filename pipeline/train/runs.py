"""The record of a run in its folder: what was asked for, on which data. A run is resumed only as the run it was."""

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pipeline.core import storage
from pipeline.core.config import from_dict, override, to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import CatalogRow, Passport
from pipeline.tracking.run import flatten, read_documents
from pipeline.train.recipe import RunRecipe
from pipeline.train.trained_on import RECORD as RECORD
from pipeline.train.trained_on import TrainedOn

R = TypeVar("R", bound=RunRecipe)
ABSENT = "absent"
ROOT = Path(__file__).resolve().parents[2]
"""Folder of the checkout, or of the copy that a job was given."""

FREE = (
    "data.root",  # the passport says whether it is the same data, wherever it lies
    "flow_root",  # likewise: flow is a part of a two-stream run's passport
    "compute.",
    "expected.",
    "tracking.",
    "train.max_steps",
    "train.checkpoint_minutes",
    "train.agree_every",
    "train.keep",
    "train.log_every",
)
"""Fields that a resumed run may change: they decide where and how conveniently it runs, not what it computes. Another
number of workers sees the same global batches; only the statistics of batch norm are then of other groups of clips."""


FIRST = "init.path"
"""Fields that name files of first weights, in a recipe and in the streams of a two-stream recipe."""
WEIGHTS = re.compile(r".*(-[0-9a-f]{8}\.pth)")
"""Torchvision's file of weights: its name ends with the beginning of its SHA-256, so the name says which one it is."""


@dataclass(frozen=True)
class RunRecord:
    """Content of run.json."""

    name: str
    key: str
    """Identity of the run, random; MLflow's run carries it as a tag."""
    created: str
    recipe: dict[str, Any]
    passport: str
    passport_parts: dict[str, str]
    mlflow_run_id: str = ""


def fresh_name(recipe: RunRecipe) -> str:
    """Return a name for a new run: the recipe's, the time in UTC, and four random letters against a twin's."""
    return f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


def check_name(name: str) -> None:
    """Refuse a name that no folder can have.

    Raises:
        UserError: says which letters are allowed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        fix = "choose a name that can be a folder's"
        raise UserError(problem("The run's name cannot be used", got=name, allowed="letters, digits, . _ -", fix=fix))


def has_record(root: str, name: str) -> bool:
    """Return whether a run of that name exists below `root`."""
    return storage.exists(storage.join(root, name, RECORD))


def open_record(
    root: str, name: str, recipe: RunRecipe, passport: Passport, rows: Sequence[CatalogRow] = ()
) -> tuple[RunRecord, bool]:
    """Return the record of run `name` below `root`, and whether it existed; a new one is written.

    Args:
        root: run storage.
        name: of the run.
        recipe: what is trained.
        passport: identity of the data.
        rows: every listed video; kept beside the record, and compared when the data differ.

    Raises:
        UserError: the run exists and was another recipe or other data, with every difference; or a name that no
            folder can have.
    """
    check_name(name)
    uri = storage.join(root, name, RECORD)
    try:
        old = RunRecord(**storage.read_json(uri))
    except FileNotFoundError:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = RunRecord(name, uuid.uuid4().hex, now, to_dict(recipe), passport.digest, dict(passport.parts))
        TrainedOn(passport, storage.join(root, name)).keep(rows)
        storage.write_json(uri, asdict(record))
        return record, False
    changed = differences(_completed(type(recipe), old.recipe), to_dict(recipe))
    data = TrainedOn(Passport(old.passport, old.passport_parts), storage.join(root, name))
    changed += data.differences(passport, rows)
    if changed:
        raise UserError(
            problem(
                f"Run {name} exists and is another run",
                got="; ".join(changed),
                allowed="the recipe and the prepared data that the run began with",
                fix="undo the differences to resume it, or give another --run for a new run",
            )
        )
    data.keep(rows)  # of a run older than this
    return old, True


def _completed(kind: type[RunRecipe], values: dict[str, Any]) -> dict[str, Any]:
    """Give a recipe of an older version the fields that have been added since, whose defaults are what it then was."""
    try:
        return to_dict(from_dict(kind, values))
    except UserError:  # it is of another kind, or holds what is no longer allowed: compared as it is
        return values


def recorded(kind: type[R], run_id: str, root: str, overrides: Sequence[str]) -> tuple[R, TrainedOn]:
    """Return the recipe of an MLflow run, to be trained again, and the data that it was trained on.

    Args:
        kind: type of its recipe.
        run_id: id of the run.
        root: run storage in whose SQLite file the run is, unless `overrides` or the environment name a server.
        overrides: `section.key=value` changes.

    Raises:
        UserError: there is no such run, or it was not made by this project.
    """
    located = override(RunRecipe(name="repeat"), [text for text in overrides if text.startswith("tracking.uri=")])
    documents = read_documents(tracking_uri(located, storage.absolute(root)), run_id, ("recipe.json", "data.json"))
    data = documents["data.json"]
    then, now = data.get("software", {}), software()
    if changed := [f"{key} {then.get(key, ABSENT)} -> {now[key]}" for key in now if then.get(key, ABSENT) != now[key]]:
        print(f"WARNING the run was made by other software; results may differ: {'; '.join(changed)}", flush=True)
    recipe = override(from_dict(kind, documents["recipe.json"]), overrides)
    return recipe, TrainedOn(Passport(data["passport"], data["passport_parts"]), data.get("run", ""))


def software() -> dict[str, str]:
    """Return what this process runs: versions of the packages that decide, the commit, and whether files were changed.

    What cannot be told is "absent": a package that is not installed, or a copy without git, as a submitted job has.
    """
    found = {name: _version(name) for name in ("star-video", "torch", "ray")}
    top = _git("rev-parse", "--show-toplevel")
    # Installed somewhere inside another repository, it would be that one's commit.
    is_ours = top != ABSENT and Path(top).resolve() == ROOT
    commit = _git("rev-parse", "HEAD") if is_ours else ABSENT
    status = ABSENT if commit == ABSENT else _git("status", "--porcelain")
    return found | {"commit": commit, "dirty": status if status == ABSENT else str(bool(status)).lower()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT


def _git(*arguments: str) -> str:
    if not (git := shutil.which("git")):
        return ABSENT
    command = [git, "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 (our own command)
    except (OSError, subprocess.CalledProcessError):
        return ABSENT
    return done.stdout.strip()


def tracking_uri(recipe: RunRecipe, root: str) -> str:
    """Return where MLflow keeps the run: the recipe's URI, else MLFLOW_TRACKING_URI, else SQLite in the run storage.

    Raises:
        UserError: none was given and the run storage is remote, where SQLite cannot live.
    """
    uri = recipe.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri:
        return uri
    if not storage.is_local(root):
        raise UserError(
            problem(
                "There is no place for the MLflow record",
                got=f"a remote run storage, {root}, and no tracking server",
                allowed="a server's URL, or a local run storage, which gets an SQLite file",
                fix="set tracking.uri or MLFLOW_TRACKING_URI",
            )
        )
    return f"sqlite:///{storage.join(root, 'mlflow.db')}"


def update_record(root: str, record: RunRecord, **changes: str) -> RunRecord:
    """Publish the record with some fields changed."""
    changed = replace(record, **changes)  # type: ignore[arg-type]
    storage.write_json(storage.join(root, record.name, RECORD), asdict(changed))
    return changed


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what differs between two recipes as "section.key old -> new", but for what a resumed run may change.

    Of that is where a file of torchvision's weights lies, too, and no other file's place: what that holds is not known.
    """
    before, after = ({k: _which(v) if k.endswith(FIRST) else v for k, v in flatten(one).items()} for one in (old, new))
    return [
        f"{key} {before.get(key, 'absent')!r} -> {after.get(key, 'absent')!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not key.startswith(FREE)
    ]


def _which(path: object) -> object:
    """Return what a file of weights is called by its content, if its name says so, else the path."""
    found = WEIGHTS.fullmatch(str(path))
    return f"torchvision's {found[1]}" if found else path
