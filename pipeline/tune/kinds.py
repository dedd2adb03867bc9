"""What can be swept: a fine-tuning on edits, a recipe of a clip network, a stage of a two-stream system."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.core import storage
from pipeline.core.config import override
from pipeline.core.errors import UserError, problem
from pipeline.eval.load import recipe_of
from pipeline.finetune.recipe import FinetuneRecipe, control_of, derive
from pipeline.registry.locate import find_checkpoint
from pipeline.train import checkpoint
from pipeline.train.clip_task import ClipTask
from pipeline.train.feeding import OpenFeed, PreparedFeed
from pipeline.train.recipe import Recipe, RunRecipe
from pipeline.train.task import OpenTask
from pipeline.tune.choose import ATTENTION
from pipeline.tune.ledger import CONTROL
from pipeline.tune.space import Values, with_values
from pipeline.tune.watched import WatchedFeed, WatchedTask
from pipeline.two_stream.feed import StreamFeed
from pipeline.two_stream.networks import digest_of
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.recipe import StreamRecipe, TwoStreamRecipe
from pipeline.two_stream.stages import Places, Stage, stages, stream_recipe
from pipeline.two_stream.tasks import StreamTask

SEEN = "The winner was chosen on the videos that are shown here, so its own numbers flatter it"


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a sweep trains again and again."""

    recipe: Any
    """The config whose fields are searched."""
    run_of: Callable[[int, Values], RunRecipe]
    """From a trial's number and values to the recipe of its run; number 0 is the control, which has no values."""
    open_feed: OpenFeed
    open_task: OpenTask
    command: tuple[str, ...]
    """Job and arguments that train the target; the winner's values are added as overrides."""
    control: Values
    """Overrides that make the control of the command."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What decides the results beside the recipe and its data, by name: weights that are trained on, the stage of a
    system."""
    told_of: str = ""
    """What its validations say beside top-1, by which trials are proposed and stopped too: attention."""
    caution: str = f"{SEEN}: score it again on others."
    command_note: str = ""
    """How the command's result differs from the trial's; empty: it is the same training."""


def edits_target(
    run: str, root: str, which: str, batches: Sequence[str], overrides: Sequence[str], *, data: str = ""
) -> Target:
    """Return the fine-tuning of a run on sealed batches; its control learns nothing of what people said.

    Args:
        run: the base: a run by name or MLflow id, or a checkpoint's folder.
        root: run storage.
        which: best or last checkpoint of the base.
        batches: folders of sealed batches, paths or URIs.
        overrides: changes of the recipe, for all trials.
        data: prepared data set; empty: the base's.
    """
    base = find_checkpoint(run, root, which)  # type: ignore[arg-type]  # the command line allows these two alone
    placed = [*([f"data.root={data}"] if data else []), *overrides]
    recipe = override(derive(recipe_of(checkpoint.read(base)), base, batches), placed)
    where = ("--run", base, "--batches", *batches, "--storage", root, *(("--data", data) if data else ()))
    return Target(
        recipe=recipe,
        run_of=partial(edited_run, recipe),
        open_feed=WatchedFeed,
        open_task=WatchedTask,
        command=("jobs/finetune_edits.py", *where, "--which", "last", "--control", *overrides),
        control={"edits.gamma_t": 0.0, "edits.gamma_s": 0.0},
        inputs={"base": digest_of(base)},
        told_of=ATTENTION,
        caution=f"{SEEN}: score it again on others. Last checkpoints are compared.",
    )


def recipe_target(name: str, recipe: Recipe, root: str, overrides: Sequence[str]) -> Target:
    """Return the training of a clip recipe; its control is the recipe as it is."""
    where = ("--data", recipe.data.root, "--storage", root)
    return Target(
        recipe=recipe,
        run_of=partial(plain_run, recipe),
        open_feed=PreparedFeed,
        open_task=ClipTask,
        command=("jobs/train_stabn.py", name, *where, *overrides),
        control={},
    )


def stage_target(
    name: str, recipe: TwoStreamRecipe, root: str, system: str, stage: str, overrides: Sequence[str]
) -> Target:
    """Return one training of a stream, within a system whose earlier stages are done; its control is the recipe as is.

    Args:
        name: of the recipe.
        recipe: of the system.
        root: run storage.
        system: name of the system, where earlier stages lie.
        stage: name of the stage, such as r1-spatial.
        overrides: changes of the recipe, for all trials.

    Raises:
        UserError: there is no such stage, or one before it has not been done.
    """
    trained = {one.name: one for one in stages(recipe) if one.kind == "train"}
    if stage not in trained:
        fix = "name one of them with --stage"
        raise UserError(problem("There is no such stage", got=stage, allowed=", ".join(trained), fix=fix))
    places, found = Places(root, system), trained[stage]
    base, weights = _earlier(places, found.weights) if found.weights else ("", "")
    flow_root = PairedData.open(recipe.data.root, recipe.flow_root).flow.root
    # A system of its own: one of the recipe's name or the swept one has other values.
    where = ("--data", recipe.data.root, "--flow", flow_root, "--storage", root, "--run", f"{system}-{stage}-winner")
    return Target(
        recipe=recipe,
        run_of=partial(stage_run, recipe, found, places, flow_root, base),
        open_feed=StreamFeed,
        open_task=StreamTask,
        command=("jobs/train_two_stream.py", name, *where, *overrides),
        control={},
        inputs={"system": system, "stage": stage, "base": weights},
        command_note=f"It trains a whole system with the values, earlier stages too; the trial is a {stage} alone.",
        caution=f"{SEEN}, and a system's validation videos are its test videos: sweep on one fold, test on others.",
    )


def edited_run(recipe: FinetuneRecipe, number: int, values: Values) -> FinetuneRecipe:
    """Return the recipe of a trial of a fine-tuning."""
    return control_of(recipe) if number == CONTROL else with_values(recipe, values)


def plain_run(recipe: Recipe, number: int, values: Values) -> Recipe:
    """Return the recipe of a trial of a training."""
    return with_values(recipe, values)


def stage_run(
    recipe: TwoStreamRecipe, stage: Stage, places: Places, flow_root: str, base: str, number: int, values: Values
) -> StreamRecipe:
    """Return the recipe of a trial of a stage."""
    return stream_recipe(with_values(recipe, values), stage, places, flow_root=flow_root, checkpoint=base)


def _earlier(places: Places, stage: str) -> tuple[str, str]:
    """Return the checkpoint that a stage has left, and its digest."""
    try:
        record = storage.read_json(places.record(stage))
        return str(record["checkpoint"]), str(record["digest"])
    except FileNotFoundError as error:
        fix = f"run jobs/train_two_stream.py with --run {places.system} --until {stage}"
        got = f"no record of {stage} in {places.root}"
        raise UserError(
            problem("An earlier stage has not been done", got=got, allowed="its record", fix=fix)
        ) from error
