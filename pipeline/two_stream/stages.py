"""What is done in which order to train a system: a list of stages, and the recipe of each, as pure functions.

The two procedures of the thesis (S3) are two lists. With both streams side by side, two rounds:

    r1-spatial, r1-temporal            0.1 everywhere
    r1-spatial-maps, r1-temporal-maps  S and T of the training videos
    attention-spatial, -temporal       r1 features to S and T, without labels
    r2-spatial, r2-temporal            with T and S of r1

Alternating (Algorithm 1), every round of one epoch: rN-spatial with the last T, its S, rN-temporal with that S, its T.

Beyond the thesis, attention nets that learn by labels (docs/decisions/0020): no maps and no stages of their own, the
second round trains each stream together with the net that makes its maps from the other's first-round features.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

from pipeline.core import storage
from pipeline.train.recipe import Expected, OptimConfig
from pipeline.two_stream.recipe import (
    AttentionRecipe,
    JointRecipe,
    StreamInit,
    StreamRecipe,
    TwoStreamRecipe,
    part_of,
    stream_config,
)
from pipeline.two_stream.samples import OTHER, STREAMS, Stream

Kind = Literal["train", "maps", "attention", "joint"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One thing to do; the names are those of stages before it."""

    name: str
    kind: Kind
    stream: Stream
    round: int
    """From 1; of an attention net, that of its features."""

    weights: str = ""
    """train, joint: the run that it goes on from (empty: the recipe's first weights). maps, attention: the stream's
    run."""

    beside: str = ""
    """Maps that the stream sees in its attention channel; empty: 0.1 everywhere, or no channel."""

    target: str = ""
    """attention: the maps to learn."""

    features: str = ""
    """joint: the other stream's run, whose features the attention net has."""


def stages(recipe: TwoStreamRecipe) -> tuple[Stage, ...]:
    """Return every stage of a system, each after those it needs."""
    found: list[Stage] = []
    last = len(recipe.rounds)
    for number in range(1, last + 1):
        before = number - 1
        if number > 1 and _by_labels(recipe):
            return (*found, *(_joint_stage(number, stream) for stream in STREAMS))
        for stream in STREAMS:
            # Of Algorithm 1's two streams the temporal one comes second, and sees what the first has just learnt.
            of_round = number if recipe.order == "alternating" and stream == "temporal" else before
            train = Stage(
                name=_run(number, stream),
                kind="train",
                stream=stream,
                round=number,
                weights=_run(before, stream) if before else "",
                beside=_maps(of_round, OTHER[stream]) if of_round and recipe.network.attention_channel else "",
            )
            found.append(train)
            if _is_seen(recipe, number, stream):
                found.append(_map_stage(train))
        if recipe.network.attention_channel and number == _source(recipe) and not _by_labels(recipe):
            found += _attention_stages(recipe, found)
    return tuple(found)


def final_stage(recipe: TwoStreamRecipe, stream: Stream) -> str:
    """Return the run whose network a test uses."""
    return _run(len(recipe.rounds), stream)


def first_stage(recipe: TwoStreamRecipe, stream: Stream) -> str:
    """Return the run whose network, with 0.1 everywhere, gives a test the features for the maps."""
    return _run(_source(recipe), stream)


def unaided_stage(recipe: TwoStreamRecipe, stream: Stream) -> str:
    """Return the run whose network a test asks without maps: before any were made, or the last where none ever are."""
    return _run(1, stream) if recipe.network.attention_channel else final_stage(recipe, stream)


def attention_stage(recipe: TwoStreamRecipe, stream: Stream) -> str:
    """Return the run whose checkpoint holds the attention net on a stream's features."""
    return final_stage(recipe, OTHER[stream]) if _by_labels(recipe) else f"attention-{stream}"


def _run(number: int, stream: Stream) -> str:
    return f"r{number}-{stream}"


def _maps(number: int, stream: Stream) -> str:
    return f"{_run(number, stream)}-maps"


def _by_labels(recipe: TwoStreamRecipe) -> bool:
    return recipe.attention.learns == "labels"


def _source(recipe: TwoStreamRecipe) -> int:
    return 1 if recipe.attention.source == "first" else len(recipe.rounds)


def _is_seen(recipe: TwoStreamRecipe, number: int, stream: Stream) -> bool:
    """True when a later run of the other stream takes the maps of this one."""
    if not recipe.network.attention_channel or _by_labels(recipe):
        return False
    in_this_round = recipe.order == "alternating" and stream == "spatial"
    return in_this_round or number < len(recipe.rounds)


def _joint_stage(number: int, stream: Stream) -> Stage:
    """Return the training of a stream together with the net that makes its maps."""
    weights, features = (_run(number - 1, one) for one in (stream, OTHER[stream]))
    run = _run(number, stream)
    return Stage(name=run, kind="joint", stream=stream, round=number, weights=weights, features=features)


def _map_stage(train: Stage) -> Stage:
    """Return the extraction of a run's maps; the network sees beside the pixels what it was trained with."""
    return Stage(
        name=f"{train.name}-maps",
        kind="maps",
        stream=train.stream,
        round=train.round,
        weights=train.name,
        beside=train.beside,
    )


def _attention_stages(recipe: TwoStreamRecipe, before: list[Stage]) -> list[Stage]:
    """Return the attention nets, and their maps where no round has them: of networks that see 0.1 everywhere."""
    found: list[Stage] = []
    number = _source(recipe)
    for stream in STREAMS:
        target = next((s for s in before if s.name == _maps(number, stream) and not s.beside), None)
        if target is None:
            name = f"{_run(number, stream)}-plain-maps"
            target = Stage(name=name, kind="maps", stream=stream, round=number, weights=_run(number, stream))
            found.append(target)
        found.append(
            Stage(
                name=attention_stage(recipe, stream),
                kind="attention",
                stream=stream,
                round=number,
                weights=_run(number, stream),
                target=target.name,
            )
        )
    return found


@dataclass(frozen=True)
class Places:
    """Where the stages of a system leave what they make."""

    root: str
    """Run storage, path or URI."""
    system: str
    """Name of the system."""

    def run(self, stage: str) -> str:
        """Return the name of a stage's training run, or of its folder of maps, below the run storage."""
        return f"{self.system}-{stage}"

    def folder(self, stage: str) -> str:
        """Return the folder of a stage."""
        return storage.join(self.root, self.run(stage))

    def record(self, stage: str) -> str:
        """Return the file that says that a stage is done."""
        return storage.join(self.root, self.system, "stages", f"{stage}.json")


def stream_recipe(
    recipe: TwoStreamRecipe, stage: Stage, places: Places, *, flow_root: str, checkpoint: str
) -> StreamRecipe:
    """Return the recipe of a stream's run.

    Args:
        recipe: of the system.
        stage: of kind train.
        places: where its maps are.
        flow_root: the flow set.
        checkpoint: of the run that it goes on from; empty in the first round.
    """
    part, this = part_of(recipe, stage.stream), recipe.rounds[stage.round - 1]
    schedule = _restarted if this.schedule == "restart" else _continued
    expected = recipe.expected
    return StreamRecipe(
        name=f"{recipe.name}-{stage.name}",
        data=recipe.data,
        optim=schedule(part.optim, recipe, stage.round),
        train=replace(recipe.train, epochs=this.epochs),
        compute=recipe.compute,
        tracking=recipe.tracking,
        expected=Expected(source=expected.source, top1=getattr(expected, stage.stream), cost=expected.cost),
        system=places.system,
        round=stage.round,
        flow_root=flow_root,
        maps_root=places.folder(stage.beside) if stage.beside else "",
        model=stream_config(recipe, stage.stream),
        short_side=recipe.pair.short_side,
        augment=part.augment,
        init=StreamInit(source="checkpoint", path=checkpoint) if checkpoint else part.init,
    )


def joint_recipe(
    recipe: TwoStreamRecipe, stage: Stage, places: Places, *, flow_root: str, checkpoint: str, features: str
) -> JointRecipe:
    """Return the recipe of a joint run.

    Args:
        recipe: of the system.
        stage: of kind joint.
        places: of the system.
        flow_root: the flow set.
        checkpoint: of the stream that it goes on from.
        features: checkpoint of the other stream.
    """
    run = stream_recipe(recipe, stage, places, flow_root=flow_root, checkpoint=checkpoint)
    return JointRecipe(
        **{field.name: getattr(run, field.name) for field in fields(StreamRecipe)},
        features=features,
        other=stream_config(recipe, OTHER[stage.stream]),
        hidden=recipe.attention.hidden,
        kernel=recipe.attention.kernel,
    )


def attention_recipe(
    recipe: TwoStreamRecipe, stage: Stage, places: Places, *, flow_root: str, checkpoint: str
) -> AttentionRecipe:
    """Return the recipe of an attention net's run; arguments as of `stream_recipe`, the checkpoint of its stream."""
    attention = recipe.attention
    return AttentionRecipe(
        name=f"{recipe.name}-{stage.name}",
        data=recipe.data,
        optim=attention.optim,
        train=replace(recipe.train, epochs=attention.epochs),
        compute=recipe.compute,
        tracking=recipe.tracking,
        system=places.system,
        flow_root=flow_root,
        maps_root=places.folder(stage.target),
        checkpoint=checkpoint,
        model=stream_config(recipe, stage.stream),
        hidden=attention.hidden,
        kernel=attention.kernel,
        share=attention.share,
    )


def _restarted(optim: OptimConfig, recipe: TwoStreamRecipe, number: int) -> OptimConfig:
    """Shrink the schedule of the first round to the length of a round, or stretch it."""
    share = recipe.rounds[number - 1].epochs / recipe.rounds[0].epochs
    return replace(
        optim,
        milestones=tuple(milestone * share for milestone in optim.milestones),
        warmup_epochs=optim.warmup_epochs * share,
    )


def _continued(optim: OptimConfig, recipe: TwoStreamRecipe, number: int) -> OptimConfig:
    """Shift the milestones to where a round begins; those behind it have lowered the rate already."""
    passed = sum(r.epochs for r in recipe.rounds[: number - 1])
    return replace(
        optim,
        milestones=tuple(milestone - passed for milestone in optim.milestones),
        warmup_epochs=optim.warmup_epochs if number == 1 else 0.0,
    )
