"""A whole system from its recipe: every stage in order, each an ordinary run that can be killed and resumed.

A stage that is done leaves a record of what it was made from and what it made. Run again, the procedure skips stages
whose record is that of the same recipe, inputs and data, and goes on with the first that has none.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.core.ray_session import connect
from pipeline.data.store.published import MANIFEST
from pipeline.train.launch import train
from pipeline.train.recipe import RunRecipe
from pipeline.train.runs import differences
from pipeline.two_stream import extract_ray
from pipeline.two_stream.extract import Engine, MapJob, MapTask, Tell, extract_maps
from pipeline.two_stream.feed import AttentionFeed, JointFeed, StreamFeed
from pipeline.two_stream.joint import JointTask
from pipeline.two_stream.networks import digest_of
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.recipe import TwoStreamRecipe
from pipeline.two_stream.stages import (
    Kind,
    Places,
    Stage,
    attention_recipe,
    joint_recipe,
    stages,
    stream_recipe,
)
from pipeline.two_stream.system import System, publish_system
from pipeline.two_stream.tasks import AttentionTask, StreamTask

Say = Callable[[str], None]
PARTS: dict[Kind, tuple[Any, Any, str]] = {
    "train": (StreamFeed, StreamTask, "top-1 with 0.1 everywhere"),
    "joint": (JointFeed, JointTask, "top-1 with the maps of its attention net"),
    "attention": (AttentionFeed, AttentionTask, "cross-entropy"),
}
"""Feed and task of each kind of training, and what its validation measures."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a finished stage leaves for the later ones and for people."""

    stage: str
    recipe: dict[str, Any]
    """Of its run; of an extraction, that of the network's run."""
    inputs: dict[str, str]
    """Digest of every earlier stage that it used, by name, and of the data."""
    checkpoint: str = ""
    """Folder of the network that counts: a stream's last, an attention net's best on the videos kept apart."""
    digest: str = ""
    """Of that checkpoint, or of the maps."""
    words: str = ""
    """What came out, for the line of the stage."""
    steps: int = 0
    top1: float | None = None
    """Best validation top-1 of a stream, percent."""
    score: float | None = None
    mlflow_run_id: str = ""
    seconds: float = 0.0
    """Of the call that finished it."""


@dataclass(frozen=True)
class Setting:
    """What stays the same over all stages."""

    recipe: TwoStreamRecipe
    places: Places
    flow_root: str
    data: str
    """Digest of frames and flow."""
    engine: Engine | None
    """Of the extractions; None is Ray's."""


def train_system(
    recipe: TwoStreamRecipe,
    *,
    root: str,
    name: str,
    until: str = "",
    engine: Engine | None = None,
    say: Say = lambda text: print(text, flush=True),
) -> System | None:
    """Train a system to its end or to a stage; what is done already is skipped.

    Args:
        recipe: what to train.
        root: run storage, a path or URI that every node can write; runs get folders `name`-STAGE in it.
        name: of the system.
        until: name of the last stage to do; empty: all.
        engine: makes the maps; None: on Ray.
        say: told a line a stage.

    Returns:
        The system, or None when it was stopped before its last stage.

    Raises:
        UserError: no such stage, or whatever a stage finds wrong.
    """
    root = storage.absolute(root)
    listed = stages(recipe)
    names = [stage.name for stage in listed]
    if until and until not in names:
        fix = "name the last stage to do"
        raise UserError(problem("There is no such stage", got=until, allowed=", ".join(names), fix=fix))
    data = PairedData.open(recipe.data.root, recipe.flow_root)
    _say_left_out(data, recipe, say)
    setting = Setting(recipe, Places(root, name), data.flow.root, data.identity().digest, engine)
    done: dict[str, Record] = {}
    for number, stage in enumerate(listed, start=1):
        head = f"[{number}/{len(listed)}] {stage.name}"
        run = _recipe_of(stage, done, setting)
        old = _finished(stage, run, done, setting)
        if not old:
            say(f"{head} begins")
        started_s = time.perf_counter()
        record = old or _do(stage, run, done, setting, functools.partial(_say_more, say, head))
        if not old:
            record = replace(record, seconds=time.perf_counter() - started_s)
            storage.write_json(setting.places.record(stage.name), asdict(record))
        done[stage.name] = record
        say(f"{head}: {record.words}, {'done before' if old else f'{record.seconds:.0f} s'}")
        if stage.name == until and number < len(listed):
            return None
    checkpoints = {stage: (record.checkpoint, record.digest) for stage, record in done.items() if record.checkpoint}
    return publish_system(root, name, recipe, checkpoints, data)


def _say_more(say: Say, head: str, text: str) -> None:
    say(f"{head}: {text}")


def _say_left_out(data: PairedData, recipe: TwoStreamRecipe, say: Say) -> None:
    for split in (recipe.data.train_split, recipe.data.test_split):
        if lost := data.left_out(split, recipe.data.fold):
            say(f"WARNING {len(lost)} videos of split {split} have no flow and are left out, such as {lost[0]}")


def _recipe_of(stage: Stage, done: dict[str, Record], setting: Setting) -> RunRecipe:
    """Return the recipe of a stage's run; of an extraction, that of the network's run with what it sees beside."""
    checkpoint = done[stage.weights].checkpoint if stage.weights else ""
    system, places, flow_root = setting.recipe, setting.places, setting.flow_root
    if stage.kind == "joint":
        features = done[stage.features].checkpoint
        return joint_recipe(system, stage, places, flow_root=flow_root, checkpoint=checkpoint, features=features)
    make = attention_recipe if stage.kind == "attention" else stream_recipe
    return make(system, stage, places, flow_root=flow_root, checkpoint=checkpoint)


def _inputs(stage: Stage, done: dict[str, Record], setting: Setting) -> dict[str, str]:
    used = [name for name in (stage.weights, stage.beside, stage.target, stage.features) if name]
    inputs = {name: done[name].digest for name in used} | {"data": setting.data}
    if stage.kind == "maps":
        inputs["stride"] = str(setting.recipe.maps.stride)
    return inputs


def _finished(stage: Stage, run: RunRecipe, done: dict[str, Record], setting: Setting) -> Record | None:
    """Return the record of a stage that was done from the same recipe and inputs, and whose result is still there."""
    try:
        record = Record(**storage.read_json(setting.places.record(stage.name)))
    except FileNotFoundError:
        return None
    made = record.checkpoint or storage.join(setting.places.folder(stage.name), MANIFEST)
    same = not differences(record.recipe, to_dict(run)) and record.inputs == _inputs(stage, done, setting)
    return record if same and storage.exists(made) else None


def _do(stage: Stage, run: RunRecipe, done: dict[str, Record], setting: Setting, say: Say) -> Record:
    record = Record(stage=stage.name, recipe=to_dict(run), inputs=_inputs(stage, done, setting))
    if stage.kind == "maps":
        return _extract(stage, run, record, done[stage.weights].checkpoint, setting, say)
    open_feed, open_task, measured = PARTS[stage.kind]
    root, name = setting.places.root, setting.places.run(stage.name)
    trained = train(run, root=root, name=name, open_feed=open_feed, open_task=open_task)
    # A stream's validation videos are test videos: choosing by them would be testing on what was chosen.
    checkpoint = trained.best_checkpoint if stage.kind == "attention" else trained.last_checkpoint
    score = f"{trained.best_top1:.2f} %" if trained.best_top1 is not None else f"{-(trained.best_score or 0.0):.4f}"
    words = f"{trained.steps} steps, best {measured} {score}"
    return replace(
        record,
        checkpoint=checkpoint,
        digest=digest_of(checkpoint),
        words=words,
        steps=trained.steps,
        top1=trained.best_top1,
        score=trained.best_score,
        mlflow_run_id=trained.mlflow_run_id,
    )


def _extract(stage: Stage, run: Any, record: Record, checkpoint: str, setting: Setting, say: Say) -> Record:
    maps = setting.recipe.maps
    root = setting.places.folder(stage.name)
    job = MapJob(root=root, recipe=run, checkpoint=checkpoint, stride=maps.stride, batch=maps.batch)
    report = extract_maps(job, setting.engine or _on_ray, _progress(say))
    words = f"{report.maps:,} maps of {report.videos:,} videos"
    return replace(record, digest=report.passport, words=words)


def _on_ray(tasks: Sequence[MapTask], tell: Tell) -> None:
    connect(sum(claim.count * claim.cpus for claim in extract_ray.claims_of(tasks[0], len(tasks))))
    extract_ray.on_ray(tasks, tell)


def _progress(say: Say, every_s: float = 15.0) -> Tell:
    started_s = said_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= every_s and done:
            said_s = now_s
            rate = done / (now_s - started_s)
            say(f"{done:,} of {total:,} maps, {rate:.0f} a second, {(total - done) / rate:.0f} s left")

    return tell
