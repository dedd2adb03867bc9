"""The recipe of a fine-tuning: a clip recipe, the checkpoint it starts from, and the edits it learns from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from pipeline.core.errors import UserError, problem
from pipeline.train.recipe import InitConfig, Recipe, require

LR = 1e-4
"""At the published batch of 64 (S0 section 4.1); all else is as in training."""


@dataclass(frozen=True, kw_only=True)
class EditConfig:
    """What people's edits add to a clip recipe."""

    base: str = ""
    """Folder of the checkpoint that the weights come from, a path or URI; the optimiser starts anew."""

    batches: tuple[str, ...] = ()
    """Folders of sealed batches, paths or URIs."""

    gamma_t: float = 10.0
    """Weight of the temporal term (S0 section 4.1). 0 is the control: the same training without what people said."""

    mean_over: Literal["samples", "annotated"] = "samples"
    """What the temporal term of a step is a mean over: all its clips, so that the published equation holds for each of
    them, or those of annotated videos alone, which weighs a rare annotation more."""

    gamma_s: float = 0.0
    """Weight of the spatial term, likewise a mean squared error, over the cells of the frames in which people pointed;
    the paper's future work, so off."""

    def __post_init__(self) -> None:
        require("edits", self, gamma_t=0, gamma_s=0)


@dataclass(frozen=True, kw_only=True)
class FinetuneRecipe(Recipe):
    """One fine-tuning of ST-ABN on people's edits."""

    edits: EditConfig = field(default_factory=EditConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.arch != "st_abn":
            fix = "give the run of an st_abn network"
            what = "Only a network with temporal attention learns from edits"
            raise UserError(problem(what, got=f"model.arch={self.model.arch}", allowed="st_abn", fix=fix))


def derive(
    base: Recipe, checkpoint: str, batches: Sequence[str], *, gamma_t: float = 10.0, gamma_s: float = 0.0
) -> FinetuneRecipe:
    """Return the fine-tuning of a trained network: its own recipe with another rate, its weights and the edits.

    Args:
        base: recipe of the training.
        checkpoint: its checkpoint, a path or URI that every node reads.
        batches: folders of sealed batches, likewise.
        gamma_t: weight of the temporal term.
        gamma_s: weight of the spatial term; both 0 for the control.

    Raises:
        UserError: a network without attention, or a negative weight.
    """
    kept = {f.name: getattr(base, f.name) for f in fields(Recipe)}
    kept |= {"name": f"{base.name}-{'edits' if gamma_t or gamma_s else 'control'}", "init": InitConfig()}
    kept |= {"optim": replace(base.optim, lr=LR), "expected": type(base.expected)()}
    edits = EditConfig(base=checkpoint, batches=tuple(batches), gamma_t=gamma_t, gamma_s=gamma_s)
    return FinetuneRecipe(**kept, edits=edits)


def control_of(recipe: FinetuneRecipe) -> FinetuneRecipe:
    """Return the same training without what people said: what it changes, more training alone explains."""
    name = f"{recipe.name.removesuffix('-edits')}-control"
    return replace(recipe, name=name, edits=replace(recipe.edits, gamma_t=0.0, gamma_s=0.0))
