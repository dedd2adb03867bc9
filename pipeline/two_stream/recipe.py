"""The recipe of a two-stream system, and those of the single runs that its stages are.

A system is trained in rounds. In the first, every place of the attention channel holds 0.1; in later ones it holds the
maps of the other stream, whose weights and one's own are carried on from the round before. The thesis (S3) has two
procedures, its Algorithm 1 and a faster one, and they differ in their rounds alone: docs/decisions/0014.
"""

from dataclasses import dataclass, field
from typing import Literal

from models.config import StreamConfig
from pipeline.core.errors import UserError, problem
from pipeline.data.config import AugmentConfig, DataConfig
from pipeline.train.recipe import ComputeConfig, OptimConfig, RunRecipe, TrackingConfig, TrainConfig, require
from pipeline.two_stream.samples import STREAMS, Sight, Stream


@dataclass(frozen=True, kw_only=True)
class StreamInit:
    """First weights of a stream."""

    source: Literal["random", "imagenet", "checkpoint"] = "random"
    """imagenet: torchvision's Inception-V3. checkpoint: a run of the same stream, which later rounds start from."""

    path: str = ""
    """File or URL of the ImageNet weights (empty: torchvision's own URL), or folder of the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """Where and how large a sample is: a frame, the stack of flow that begins at it, and the map of either."""

    short_side: int = 341
    """Short side to which test images are resized before the centre crop of the network's size, pixels. 341 is to 299
    as TSN's 256 to 224."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What both streams have in common."""

    classes: int = 101
    flow_stack: int = 10
    """m, flows in a stack."""

    segments: int = 1
    """G, places of a video in one training sample, whose scores are averaged: 1 in the thesis, 3 in TSN."""

    attention_channel: bool = True
    """False: the baselines Two-Stream and TSN, which have no maps and one round."""

    size: int = 299
    width: float = 1.0
    aux_head: bool = False
    attention_init: Literal["mean", "zero"] = "mean"
    partial_bn: bool = False


@dataclass(frozen=True, kw_only=True)
class StreamPart:
    """What a stream has of its own."""

    dropout: float = 0.5
    init: StreamInit = field(default_factory=StreamInit)
    """Of the first round."""

    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-3, reference_batch=0, nesterov=False, milestones=(30.0, 250.0), clip_norm=40.0
        )
    )
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            crop="multiscale_corner", brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0
        )
    )
    """TSN's: corner crops of several scales and flips. Colours are left alone."""

    def __post_init__(self) -> None:
        jitter = (self.augment.brightness, self.augment.contrast, self.augment.saturation, self.augment.hue)
        if any(jitter) or self.augment.crop == "random_resized":
            raise UserError(
                problem(
                    "A two-stream sample is cropped as TSN crops, and its colours stay",
                    got=f"crop={self.augment.crop}, brightness, contrast, saturation, hue {jitter}",
                    allowed="crop multiscale_corner or center, and no jitter: flow has no colours",
                    fix="leave augment.crop and the jitter as they are",
                )
            )


@dataclass(frozen=True, kw_only=True)
class Round:
    """One training of each stream."""

    epochs: int = 300
    schedule: Literal["restart", "continue"] = "restart"
    """restart: from the first rate again, the milestones scaled by this round's epochs over the first one's.
    continue: the milestones count from the beginning of round 1."""

    def __post_init__(self) -> None:
        require("round", self, epochs=1)


@dataclass(frozen=True, kw_only=True)
class MapsConfig:
    """The Grad-CAM maps between two rounds."""

    stride: int = 1
    """Distance between the frames of a video that get a map. Training samples begin at those alone."""

    batch: int = 64
    """Images that go through the network together."""

    def __post_init__(self) -> None:
        require("maps", self, stride=1, batch=1)


@dataclass(frozen=True, kw_only=True)
class AttentionConfig:
    """The attention nets, which give maps at test time."""

    learns: Literal["grad_cam", "labels"] = "grad_cam"
    """grad_cam: the maps of the stream whose features it has (S3). labels: each is trained together with the second
    round of the stream that sees its map, by that stream's loss alone; no map is extracted (docs/decisions/0020)."""

    hidden: int = 512
    kernel: Literal[1, 3] = 3
    source: Literal["first", "last"] = "first"
    """Round whose streams, with 0.1 everywhere, give the features and the maps to learn, in training and in tests."""

    share: float = 0.8
    """Of the training videos that are trained on; the others validate. By video: 8:2 in the thesis. This and what
    follows is for grad_cam: by labels, a net has the data, the epochs and the optimiser of the stream's round."""

    epochs: int = 10
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            name="adam", lr=1e-3, reference_batch=0, weight_decay=0.0, milestones=(), clip_norm=0.0
        )
    )

    def __post_init__(self) -> None:
        require("attention", self, hidden=1, epochs=1)
        if not 0 < self.share < 1:
            fix = "set attention.share=0.8"
            raise UserError(problem("attention.share is a share", got=self.share, allowed="between 0 and 1", fix=fix))


@dataclass(frozen=True, kw_only=True)
class SystemExpected:
    """What a reader may hold the system to, percent; printed by `--describe`, compared by nobody but people."""

    source: str = ""
    spatial: float | None = None
    temporal: float | None = None
    fused: float | None = None
    cost: str = ""


@dataclass(frozen=True, kw_only=True)
class TwoStreamRecipe:
    """A whole system: two streams in rounds, maps between them, attention nets."""

    name: str
    data: DataConfig = field(default_factory=lambda: DataConfig(test_split="test"))
    flow_root: str = ""
    """The flow set, path or URI; empty: the only one beside the frames."""

    pair: PairConfig = field(default_factory=PairConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    spatial: StreamPart = field(default_factory=StreamPart)
    temporal: StreamPart = field(default_factory=StreamPart)
    order: Literal["side_by_side", "alternating"] = "side_by_side"
    """side_by_side: both streams of a round see the maps of the round before. alternating (Algorithm 1): the temporal
    stream sees those of the spatial one of the same round."""

    rounds: tuple[Round, ...] = (Round(), Round())
    maps: MapsConfig = field(default_factory=MapsConfig)
    attention: AttentionConfig = field(default_factory=AttentionConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(eval_every=10))
    """Of every run; `epochs` comes from the rounds and from `attention`."""

    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    expected: SystemExpected = field(default_factory=SystemExpected)

    def __post_init__(self) -> None:
        for stream in STREAMS:
            stream_config(self, stream)  # refuses what no network can be
        if self.pair.short_side < self.network.size:
            raise UserError(
                problem(
                    "Test images are smaller than the network's",
                    got=f"pair.short_side={self.pair.short_side}, network.size={self.network.size}",
                    allowed="short_side >= size; TSN takes 8/7 of it",
                    fix="set pair.short_side",
                )
            )
        if not self.rounds:
            fix = "set rounds; without network.attention_channel a second one is as much training without maps"
            raise UserError(problem("These rounds make no system", got="none", allowed="one or more", fix=fix))
        parts = {stream: part_of(self, stream).optim.schedule for stream in STREAMS}
        if any(r.schedule == "continue" for r in self.rounds) and set(parts.values()) != {"multistep"}:
            raise UserError(
                problem(
                    "A schedule goes on from round to round in steps only",
                    got=f"schedule {parts}",
                    allowed="multistep where a round has schedule=continue",
                    fix="set spatial.optim.schedule and temporal.optim.schedule to multistep",
                )
            )
        self._check_labels()

    def _check_labels(self) -> None:
        """Refuse a system whose attention nets learn by labels, but in other rounds than these nets have."""
        fits = len(self.rounds) == 2 and self.order == "side_by_side" and self.attention.source == "first"
        if self.attention.learns == "labels" and not fits:
            raise UserError(
                problem(
                    "Attention nets learn by labels in the second of two rounds",
                    got=f"{len(self.rounds)} rounds, order={self.order}, attention.source={self.attention.source}",
                    allowed="two rounds, order=side_by_side, attention.source=first",
                    fix="set these, or attention.learns=grad_cam",
                )
            )


@dataclass(frozen=True, kw_only=True)
class StreamRecipe(RunRecipe):
    """One training run of one stream."""

    system: str
    """Name of the system that the run is a part of."""

    round: int
    """From 1."""

    flow_root: str
    maps_root: str = ""
    """The other stream's maps of the training videos; empty: 0.1 everywhere, or no attention channel."""

    model: StreamConfig
    short_side: int
    augment: AugmentConfig
    init: StreamInit


@dataclass(frozen=True, kw_only=True)
class JointRecipe(StreamRecipe):
    """One training run of a stream together with the attention net that makes its maps, by labels alone."""

    features: str
    """Checkpoint of the other stream, which gives the attention net its features and stays as it is."""

    other: StreamConfig
    """Of that stream."""

    hidden: int
    kernel: Literal[1, 3]


@dataclass(frozen=True, kw_only=True)
class AttentionRecipe(RunRecipe):
    """One training run of an attention net."""

    system: str
    flow_root: str
    maps_root: str
    """Maps of this stream's training videos: what the net learns."""

    checkpoint: str
    """Of the stream that gave the maps and gives the features."""

    model: StreamConfig
    """Of that stream."""

    hidden: int
    kernel: Literal[1, 3]
    share: float


def part_of(recipe: TwoStreamRecipe, stream: Stream) -> StreamPart:
    """Return what a stream has of its own."""
    return recipe.spatial if stream == "spatial" else recipe.temporal


def stream_config(recipe: TwoStreamRecipe, stream: Stream) -> StreamConfig:
    """Return a stream's network.

    Raises:
        UserError: no network can be like this.
    """
    network = recipe.network
    try:
        return StreamConfig(
            stream=stream,
            classes=network.classes,
            flow_stack=network.flow_stack,
            attention_channel=network.attention_channel,
            segments=network.segments,
            size=network.size,
            width=network.width,
            dropout=part_of(recipe, stream).dropout,
            aux_head=network.aux_head,
            attention_init=network.attention_init,
            partial_bn=network.partial_bn,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def sight_of(config: StreamConfig) -> Sight:
    """Return what a stream sees, for those who load it."""
    return Sight(stream=config.stream, flow_stack=config.flow_stack, segments=config.segments, size=config.size)
