"""A trained system: which checkpoints belong together, and the networks in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models import StreamNet, TwoStream
from models.two_stream import FUSION
from pipeline.core import storage
from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import Passport
from pipeline.two_stream.networks import digest_of, load_attention, load_stream
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.recipe import TwoStreamRecipe
from pipeline.two_stream.samples import STREAMS, Stream
from pipeline.two_stream.stages import attention_stage, final_stage, first_stage

SYSTEM = "system.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class System:
    """A system and where its networks lie."""

    root: str
    """Run storage."""
    name: str
    recipe: TwoStreamRecipe
    checkpoints: Mapping[str, tuple[str, str]]
    """Folder and digest of the network of each training stage, by the stage's name."""
    classes: tuple[str, ...]
    passport: Passport
    """Identity of frames and flow that it was trained on."""

    @classmethod
    def open(cls, root: str, name: str) -> System:
        """Read what a finished training left.

        Raises:
            UserError: there is no such system, or its training has not ended.
        """
        root = storage.absolute(root)
        uri = storage.join(root, name, SYSTEM)
        try:
            values = storage.read_json(uri)
        except FileNotFoundError as error:
            fix = f"run jobs/train_two_stream.py with --run {name} to its end, or check --storage"
            raise UserError(problem("There is no such system", got=uri, allowed="a finished one", fix=fix)) from error
        return cls(
            root=root,
            name=name,
            recipe=from_dict(TwoStreamRecipe, values["recipe"]),
            checkpoints={
                stage: (storage.join(root, *folder.split("/")), digest)
                for stage, (folder, digest) in values["checkpoints"].items()
            },
            classes=tuple(values["classes"]),
            passport=Passport(values["passport"], values["passport_parts"]),
        )

    def stream(self, stream: Stream) -> StreamNet:
        """Load the final network of a stream, on the CPU and in evaluation mode."""
        return load_stream(self.checkpoint(final_stage(self.recipe, stream)))

    def two_stream(self, fusion: tuple[float, float] = FUSION) -> TwoStream:
        """Load all six networks of a system with attention, on the CPU and in evaluation mode.

        Raises:
            UserError: the system is a baseline, without attention; or a checkpoint is not the one it was.
        """
        if not self.recipe.network.attention_channel:
            fix = "fuse the probabilities of its two streams"
            what = "A baseline has no attention nets"
            raise UserError(problem(what, got=self.recipe.name, allowed="a system with attention", fix=fix))
        spatial, temporal = STREAMS
        return TwoStream(
            first_spatial=load_stream(self.checkpoint(first_stage(self.recipe, spatial))),
            first_temporal=load_stream(self.checkpoint(first_stage(self.recipe, temporal))),
            spatial_attention=load_attention(self.checkpoint(attention_stage(self.recipe, spatial))),
            temporal_attention=load_attention(self.checkpoint(attention_stage(self.recipe, temporal))),
            spatial=self.stream(spatial),
            temporal=self.stream(temporal),
            fusion=fusion,
        )

    def checkpoint(self, stage: str) -> str:
        """Return the folder of a stage's network.

        Raises:
            UserError: the checkpoint is not the one that the system was made of.
        """
        folder, digest = self.checkpoints[stage]
        if digest_of(folder) != digest:
            fix = f"run jobs/train_two_stream.py with --run {self.name} again"
            what = f"The checkpoint of {stage} is not the one that the system was made of"
            raise UserError(problem(what, got=folder, allowed=f"the one with digest {digest[:12]}", fix=fix))
        return folder


def publish_system(
    root: str, name: str, recipe: TwoStreamRecipe, checkpoints: Mapping[str, tuple[str, str]], data: PairedData
) -> System:
    """Record a finished system in its folder, and return it."""
    identity = data.identity()
    values = {
        "format": FORMAT,
        "recipe": to_dict(recipe),
        # Run and checkpoint, below the run storage, which may be moved as a whole.
        "checkpoints": {s: ["/".join(folder.split("/")[-2:]), digest] for s, (folder, digest) in checkpoints.items()},
        "classes": list(data.prepared.classes),
        "passport": identity.digest,
        "passport_parts": dict(identity.parts),
    }
    storage.write_json(storage.join(root, name, SYSTEM), values)
    return System.open(root, name)
