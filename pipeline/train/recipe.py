"""The recipe: everything that defines a training run, as one frozen, typed value."""

from dataclasses import dataclass, field
from typing import Literal

from models.config import ModelConfig
from pipeline.core.errors import UserError, problem
from pipeline.data.config import AugmentConfig, ClipConfig, DataConfig, ViewConfig


def require(section: str, config: object, **least: float) -> None:
    """Refuse numbers below the least that makes sense.

    Raises:
        UserError: names the field, its value and the least value.
    """
    for name, low in least.items():
        value = getattr(config, name)
        if not value >= low:  # NaN too
            field_name = f"{section}.{name}"
            raise UserError(
                problem(
                    f"{field_name} is out of range",
                    got=f"{field_name}={value}",
                    allowed=f"at least {low:g}",
                    fix=f"set {field_name}",
                )
            )


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where the first weights come from."""

    source: Literal["random", "imagenet2d", "kinetics400", "authors"] = "random"
    """imagenet2d: a torchvision 2D ResNet, inflated. kinetics400: a torchvision Video Swin Transformer, for swin3d.
    authors: a published ST-ABN checkpoint (.pt)."""

    path: str = ""
    """File or URL of the weights; empty with imagenet2d or kinetics400 means torchvision's own URL for the network."""


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """The optimiser and its schedule; SGD as of S0 section 4.1."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """adam, adamw: with torch's own betas (0.9, 0.999) and epsilon 1e-8; `momentum` and `nesterov` are SGD's. adamw
    takes the weight decay off the weights, and not into the gradient."""

    lr: float = 0.01
    """Learning rate at `reference_batch` samples a step."""

    reference_batch: int = 64
    """The linear scaling rule: effective lr = lr * global batch / reference_batch. 0 switches scaling off."""

    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    """On all parameters, batch norm and biases too, as published."""

    schedule: Literal["multistep", "cosine"] = "multistep"
    milestones: tuple[float, ...] = (75.0, 125.0)
    """Epochs after which the rate is multiplied by `gamma` (multistep)."""

    gamma: float = 0.1
    warmup_epochs: float = 0.0
    """Linear warm-up from a hundredth of the rate."""

    clip_norm: float = 20.0
    """Largest gradient norm; 0 switches clipping off."""

    def __post_init__(self) -> None:
        numbers = ("lr", "reference_batch", "momentum", "weight_decay", "gamma", "warmup_epochs", "clip_norm")
        require("optim", self, **dict.fromkeys(numbers, 0))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The loop."""

    epochs: int = 150
    global_batch: int = 64
    """Samples (clips) of one optimiser step, over all workers and accumulation steps."""

    accumulate: int = 1
    """Micro-batches a worker adds up before a step."""

    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    """Channels-last memory format, of three or two dimensions as the network has."""

    compile: bool = False
    """torch.compile the network."""

    eval_every: int = 1
    """Epochs between validations inside training; the last epoch is always validated. 0: only the last."""

    checkpoint_minutes: float = 10.0
    """Wall-clock minutes between checkpoints inside an epoch; one is also taken after every epoch."""

    agree_every: int = 10
    """Steps between the moments at which the ranks agree on a checkpoint (clock of rank 0, preemption notice)."""

    keep: int = 2
    """Checkpoints kept besides the latest, by the score of their validation (of a clip recipe its top-1)."""

    nonfinite_limit: int = 20
    """Non-finite steps that are skipped (their video ids logged) before the run stops."""

    log_every: int = 10
    """Steps between logged points of the training curve."""

    max_steps: int = 0
    """Stop after this many optimiser steps, for a trial of a large recipe; 0 trains all epochs."""

    def __post_init__(self) -> None:
        require(
            "train",
            self,
            **dict.fromkeys(("epochs", "global_batch", "accumulate", "agree_every", "log_every", "keep"), 1),
        )
        numbers = ("seed", "eval_every", "checkpoint_minutes", "nonfinite_limit", "max_steps")
        require("train", self, **dict.fromkeys(numbers, 0))


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """What the run asks of the cluster; the preflight adds it up and refuses what would hang."""

    workers: int = 1
    """Training processes; one GPU each when `gpu` is on."""

    gpu: bool = False
    cpus_per_worker: float = 1.0
    """Logical CPUs reserved by a training process."""

    worker_resource: str = ""
    """Custom Ray resource of which each training process takes 1; it keeps training on the nodes that declare it, on
    clusters whose training nodes have no GPU to tell them apart. Empty: any node."""

    data_cpus: float = 1.0
    """Logical CPUs that the feed's tasks may use in all; must be free beside the training processes. 0 decodes inside
    the training processes, which wait meanwhile: for machines too small for more."""

    threads: int = 1
    """torch threads of a training process on CPU."""

    prefetch: int = 4
    """Batches that a worker holds ready."""

    max_failures: int = 3
    """Worker failures survived by restarting from the last checkpoint; preemptions do not count."""

    def __post_init__(self) -> None:
        require("compute", self, workers=1, threads=1, cpus_per_worker=0, data_cpus=0, prefetch=0, max_failures=0)


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """MLflow."""

    uri: str = ""
    """Tracking server URL or sqlite:/// path; empty takes MLFLOW_TRACKING_URI, then sqlite below the run storage."""

    experiment: str = "star"
    registered_model: str = ""
    """Register the best checkpoint under this name; empty registers nothing."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a reader may hold the run to; printed by `--describe`, compared by nobody but people."""

    source: str = ""
    """Paper, table and row, or the command that measured it."""

    top1: float | None = None
    """Percent."""

    top5: float | None = None
    cost: str = ""
    """Compute in words: FLOP, GPU hours, minutes on a named machine."""


@dataclass(frozen=True, kw_only=True)
class RunRecipe:
    """What every training run has, whatever it trains; a task's own recipe adds its samples and its network.

    A recipe file holds functions that return one; the command line only overrides fields.
    """

    name: str
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    expected: Expected = field(default_factory=Expected)

    def __post_init__(self) -> None:
        if self.train.global_batch % (self.compute.workers * self.train.accumulate):
            raise UserError(
                problem(
                    "The global batch does not divide over workers and accumulation steps",
                    got=f"train.global_batch={self.train.global_batch}, compute.workers={self.compute.workers}, "
                    f"train.accumulate={self.train.accumulate}",
                    allowed="a multiple of workers * accumulate",
                    fix="change train.global_batch or compute.workers",
                )
            )


@dataclass(frozen=True, kw_only=True)
class Recipe(RunRecipe):
    """One training run of ST-ABN or its baseline on clips."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    """What the registered model averages over when it answers for a video. Validation inside training sees one centred
    clip whatever this says, and jobs/evaluate.py takes --protocol and --crops."""

    model: ModelConfig = field(default_factory=ModelConfig)
    init: InitConfig = field(default_factory=InitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip.frames != self.model.frames:
            raise UserError(
                problem(
                    "The clip's length differs from the model's",
                    got=f"clip.frames={self.clip.frames}, model.frames={self.model.frames}",
                    allowed="equal values; ST-ABN's temporal head is built for exactly T frames",
                    fix="set both, for example clip.frames=32 model.frames=32",
                )
            )
