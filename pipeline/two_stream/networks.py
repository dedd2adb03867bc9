"""Trained networks of a system out of the checkpoints of its runs."""

from typing import TypeVar

import torch
from torch import Tensor

from models import AttentionNet, StreamNet
from models.config import StreamConfig
from pipeline.core import storage
from pipeline.core.config import from_dict
from pipeline.core.errors import UserError, problem
from pipeline.train import checkpoint
from pipeline.train.checkpoint import STATE, Snapshot
from pipeline.two_stream.recipe import AttentionRecipe, JointRecipe, StreamRecipe

R = TypeVar("R", StreamRecipe, AttentionRecipe, JointRecipe)

ATTENTION, STREAM = "attention.", "stream."
"""Begin the names of weights in checkpoints that hold several networks: of an attention net's run, and of a joint
training, whose stream is the one that learnt."""


def load_stream(uri: str, config: StreamConfig | None = None) -> StreamNet:
    """Load the stream of a checkpoint, on the CPU and in evaluation mode.

    Args:
        uri: folder of the checkpoint, a path or URI.
        config: what it has to be; None takes what it is.

    Raises:
        UserError: there is no checkpoint, or it is that of another network.
    """
    snapshot = checkpoint.read(uri)
    joint = _is_joint(snapshot)
    found = _recipe(snapshot, uri, JointRecipe if joint else StreamRecipe, "a stream").model
    if config not in (None, found):
        fix = "use the checkpoint of the same stream of the same system"
        raise UserError(problem(f"The network in {uri} is another one", got=found, allowed=config, fix=fix))
    with torch.device("meta"):
        net = StreamNet(found)
    net.load_state_dict(_part(snapshot, STREAM) if joint else snapshot.model, strict=True, assign=True)
    return net.eval()


def load_attention(uri: str) -> AttentionNet:
    """Load the attention net of a checkpoint, on the CPU and in evaluation mode.

    Raises:
        UserError: there is no checkpoint, or it is that of something else.
    """
    snapshot = checkpoint.read(uri)
    recipe: AttentionRecipe | JointRecipe
    if _is_joint(snapshot):
        recipe = _recipe(snapshot, uri, JointRecipe, "an attention net")
    else:
        recipe = _recipe(snapshot, uri, AttentionRecipe, "an attention net")
    weights = _part(snapshot, ATTENTION)
    channels = weights["conv1.weight"].shape[1]
    with torch.device("meta"):
        net = AttentionNet(channels, recipe.hidden, recipe.kernel)
    net.load_state_dict(weights, strict=True, assign=True)
    return net.eval()


def digest_of(uri: str) -> str:
    """Return the SHA-256 of a checkpoint's file."""
    return storage.sha256_file(storage.join(uri, STATE))


def _is_joint(snapshot: Snapshot) -> bool:
    """True for a checkpoint of a stream that was trained together with its attention net."""
    return "features" in snapshot.recipe


def _part(snapshot: Snapshot, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in snapshot.model.items() if name.startswith(prefix)}


def _recipe(snapshot: Snapshot, uri: str, kind: type[R], what: str) -> R:
    try:
        return from_dict(kind, snapshot.recipe)
    except UserError as error:
        fix = "give the checkpoint of another run"
        got = f"{uri} of {snapshot.recipe.get('name', 'an unknown recipe')}"
        raise UserError(problem("The checkpoint holds another network", got=got, allowed=what, fix=fix)) from error
