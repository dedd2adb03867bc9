"""A trained network from its checkpoint, ready to answer: weights, recipe, classes and the data it was trained on."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from models import Baseline, StAbn, build_model
from pipeline.core import storage
from pipeline.core.config import from_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import Passport
from pipeline.train import checkpoint
from pipeline.train.device import Precision, autocast, to_model_input
from pipeline.train.recipe import Recipe

Inversion = Literal["none", "spatial", "temporal", "both"]
INVERSIONS: tuple[Inversion, ...] = ("none", "spatial", "temporal", "both")
"""Which attention is replaced by 1 minus itself before the attention mechanism (S1 table 2, S0 table 3)."""
ADDED = ("edits",)
"""Sections that a further training of a clip network adds to its recipe; they say nothing of how it answers."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """What a network says about a batch of clips, on the host; attention fields are None for a baseline."""

    logits_BK: FloatArray
    att_logits_BK: FloatArray | None
    spatial_BTHW: FloatArray | None
    """As the attention mechanism used it, so after an inversion; H and W of the feature map."""
    temporal_BT: FloatArray | None
    """As the attention mechanism used it, so after an inversion."""


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """A network in eval mode on its device, and everything needed to feed it and to name what it says."""

    model: Baseline | StAbn
    recipe: Recipe
    classes: tuple[str, ...]
    passport: Passport
    """Identity of the prepared data set that it was trained on."""
    step: int
    run_id: str
    """MLflow run of its training; empty when there was none."""
    checkpoint: str
    """Absolute path or URI of the checkpoint."""
    device: torch.device
    precision: Precision

    @property
    def has_attention(self) -> bool:
        """False for a baseline."""
        return self.recipe.model.arch == "st_abn"

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(p.numel() for p in self.model.parameters())

    def normalised(self, x_BTHWC: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return RGB clips as the network takes them, on its device."""
        channels_last = self.recipe.train.channels_last
        return to_model_input(torch.from_numpy(x_BTHWC), self.device, self.precision, channels_last)

    @torch.inference_mode()
    def answer(self, x_BTHWC: npt.NDArray[np.uint8], invert: Inversion = "none") -> Answer:
        """Run clips through the network.

        Args:
            x_BTHWC: RGB clips of the recipe's length and size.
            invert: attention to invert.

        Returns:
            Logits and attention, float32 whatever the precision.

        Raises:
            UserError: an inversion asked of a network without attention.
        """
        self.check_inversion(invert)
        x_BCTHW = self.normalised(x_BTHWC)
        options = {} if invert == "none" else _options(invert)
        with autocast(self.device, self.precision):
            output = self.model(x_BCTHW, **options)
        if output.att_logits_BK is None:
            return Answer(_host(output.logits_BK), None, None, None)
        return Answer(
            _host(output.logits_BK),
            _host(output.att_logits_BK),
            _host(output.spatial_B1THW.squeeze(1)),
            _host(output.temporal_B1T11.flatten(1)),
        )

    def check_inversion(self, invert: Inversion) -> None:
        """Raise UserError when this network has no attention to invert."""
        if invert != "none" and not self.has_attention:
            fix = "use --invert none, or evaluate an st_abn network"
            got = f"--invert {invert} for a {self.recipe.model.arch}"
            raise UserError(problem("There is no attention to invert", got=got, allowed="st_abn networks", fix=fix))


def load(uri: str, *, gpu: bool = False, precision: Precision | None = None, threads: int | None = None) -> Recogniser:
    """Load the network of a checkpoint folder.

    Args:
        uri: folder of the checkpoint, a path or URI.
        gpu: put it on this process's GPU.
        precision: None is the precision it was trained with.
        threads: torch threads of this process; None leaves them as they are.

    Raises:
        UserError: no checkpoint there, one of another kind of training, or no GPU although one is asked for.
    """
    if gpu and not torch.cuda.is_available():
        fix = "leave --gpu away, or run where torch.cuda.is_available()"
        raise UserError(problem("A GPU was asked for", got="no CUDA device", allowed="a CUDA device", fix=fix))
    if threads is not None:
        torch.set_num_threads(threads)
    snapshot = checkpoint.read(uri)
    recipe = recipe_of(snapshot)
    with torch.device("meta"):  # no weights are drawn only to be overwritten
        model = build_model(recipe.model)
    model.load_state_dict(snapshot.model, strict=True, assign=True)
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
    model.to(device).eval()
    if recipe.train.channels_last:
        model.to(memory_format=torch.channels_last_3d)
    return Recogniser(
        model=model,
        recipe=recipe,
        classes=snapshot.classes,
        passport=Passport(snapshot.passport, snapshot.passport_parts),
        step=snapshot.step,
        run_id=snapshot.mlflow_run_id,
        checkpoint=storage.absolute(uri),
        device=device,
        precision=precision or recipe.train.precision,
    )


def recipe_of(snapshot: checkpoint.Snapshot) -> Recipe:
    """Return the recipe of a checkpoint of a network on clips.

    Raises:
        UserError: it is of another kind of training.
    """
    if missing := sorted({"clip", "model"} - snapshot.recipe.keys()):
        raise UserError(
            problem(
                "The checkpoint is of another kind of training",
                got=f"recipe {snapshot.recipe.get('name')}, which has no {', '.join(missing)}",
                allowed="a recipe that jobs/train_stabn.py trains",
                fix="use the jobs of that training, or name another run",
            )
        )
    return from_dict(Recipe, {name: value for name, value in snapshot.recipe.items() if name not in ADDED})


def _options(invert: Inversion) -> dict[str, Any]:
    return {"invert_spatial": invert in ("spatial", "both"), "invert_temporal": invert in ("temporal", "both")}


def _host(tensor: torch.Tensor) -> FloatArray:
    return tensor.float().cpu().numpy()
