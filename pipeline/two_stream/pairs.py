"""A prepared data set and its flow as one: the videos that have both, and the identity of all that a run reads."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.flip import FlipMap, flip_map
from pipeline.data.records import HIDDEN_LABEL, PreparedVideo
from pipeline.data.store.catalog import Passport
from pipeline.data.store.prepared import PreparedDataset
from pipeline.flow.dataset import FlowDataset, find
from pipeline.two_stream.maps import MapDataset
from pipeline.two_stream.recipe import AttentionRecipe, StreamRecipe
from pipeline.two_stream.samples import Stream


@dataclass(frozen=True)
class PairedData:
    """Frames and flow of the same videos. Both streams of a system see the same videos, each its own kind of picture.

    A video whose flow could not be had is in neither: it is counted in `left_out`.
    """

    prepared: PreparedDataset
    flow: FlowDataset

    @classmethod
    def open(cls, root: str, flow_root: str = "") -> "PairedData":
        """Open both.

        Args:
            root: the prepared data set.
            flow_root: the flow set; empty: the only one beside the frames.

        Raises:
            UserError: one of them is not there, or the flow is that of other frames.
        """
        prepared = PreparedDataset.open(root)
        return cls(prepared, find(prepared, flow_root))

    def root(self, stream: Stream) -> str:
        """Return where the pictures of a stream lie."""
        return self.prepared.root if stream == "spatial" else self.flow.root

    def videos(self, stream: Stream, split: str, fold: int) -> tuple[PreparedVideo, ...]:
        """Return the videos of a split that have frames and flow, in listed order, each at its place for a stream.

        Raises:
            UserError: no such split or fold, or no video of it has flow.
        """
        both = [video for video in self.prepared.videos(split, fold) if video.id in self.flow.videos]
        if not both:
            fix = "extract the flow of this data set, or set data.train_split or data.test_split"
            raise UserError(problem(f"No video of split {split} has flow", got=self.flow.root, allowed="one", fix=fix))
        if stream == "spatial":
            return tuple(both)
        flows = [self.flow.videos[video.id] for video in both]
        return tuple(
            PreparedVideo(video.id, video.label, video.frames, flow.shard, flow.row)
            for video, flow in zip(both, flows, strict=True)
        )

    def left_out(self, split: str, fold: int) -> tuple[str, ...]:
        """Return the ids of readable videos of a split that have no flow."""
        return tuple(v.id for v in self.prepared.videos(split, fold) if v.id not in self.flow.videos)

    def flips(self, recipe: StreamRecipe) -> FlipMap:
        """Return the class of each class's mirrored video."""
        return flip_map(self.prepared.classes, recipe.data.flip_pairs)

    def identity(self, maps: Sequence[MapDataset] = ()) -> Passport:
        """Return the passport of all that a run reads: frames, flow, maps."""
        parts = {f"frames: {name}": digest for name, digest in self.prepared.identity.parts.items()}
        parts |= {f"flow: {name}": digest for name, digest in self.flow.identity.parts.items()}
        parts |= {f"maps of the {one.stream} stream": one.passport for one in maps}
        return Passport(storage.sha256_json(parts), parts)


def training_videos(data: PairedData, recipe: StreamRecipe | AttentionRecipe) -> tuple[PreparedVideo, ...]:
    """Return the videos that a run trains on, after checking that the network fits them.

    Raises:
        UserError: another number of classes, or videos without a published label.
    """
    classes = data.prepared.classes
    if len(classes) != recipe.model.classes:
        raise UserError(
            problem(
                "The network has another number of classes than the data",
                got=f"network.classes={recipe.model.classes}",
                allowed=f"the {len(classes)} classes of {data.prepared.root}",
                fix=f"set network.classes={len(classes)}",
            )
        )
    videos = data.videos(recipe.model.stream, recipe.data.train_split, recipe.data.fold)
    if hidden := [video.id for video in videos if video.label == HIDDEN_LABEL]:
        got = f"{len(hidden)} of split {recipe.data.train_split}, the first of them {hidden[0]}"
        allowed, fix = "a split whose classes the official files give", "set data.train_split"
        what = "Videos without a published label cannot be trained on"
        raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
    return videos


def open_maps(
    root: str,
    of_stream: Stream,
    data: PairedData,
    recipe: StreamRecipe | AttentionRecipe,
    videos: Sequence[PreparedVideo],
) -> MapDataset:
    """Open maps and make sure that they are those of a stream, of these videos.

    Args:
        root: of the maps.
        of_stream: whose maps they have to be.
        data: frames and flow of the run.
        recipe: of the run.
        videos: all of them need maps.

    Raises:
        UserError: they are another stream's, another data set's or another split's, or do not cover all videos.
    """
    maps = MapDataset.open(root)
    wanted = {
        "stream": of_stream,
        "frames": data.prepared.passport,
        "flow": data.flow.passport,
        "split": recipe.data.train_split,
        "fold": recipe.data.fold,
        "flow_stack": recipe.model.flow_stack,
    }
    wrong = [
        f"{name} {maps.manifest.get(name)} and not {value}"
        for name, value in wanted.items()
        if maps.manifest.get(name) != value
    ]
    lacking = [video.id for video in videos if video.id not in maps.rows]
    if lacking:
        wrong.append(f"no maps of {len(lacking)} videos, such as {lacking[0]}")
    if wrong:
        raise UserError(
            problem(
                f"The maps in {root} are not those that this run needs",
                got="; ".join(wrong),
                allowed="the maps that the same system extracted from the same data",
                fix="run jobs/train_two_stream.py under another --run name",
            )
        )
    return maps
