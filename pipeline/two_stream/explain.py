"""Where a trained system looks in a video: maps of several layers for a class, and the maps of the attention nets.

For people alone. The class that a layer is asked about is the predicted one unless a person names another; nothing
that a test writes comes from here.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.attention_maps import START_ATTENTION
from models.grad_cam import grad_cam
from models.stream import to_input
from models.two_stream import FUSION, fuse
from pipeline.core.errors import UserError, problem
from pipeline.two_stream.answer import Answer, Answerer, Variant, variants_of
from pipeline.two_stream.evaluate import check_data
from pipeline.two_stream.look import Entry, Eye, Seen
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.predict import eye_of
from pipeline.two_stream.samples import STREAMS, Pixels, Stream
from pipeline.two_stream.system import System
from pipeline.two_stream.views import Viewing

LAYERS = ("Mixed_7a", "Mixed_7b", "Mixed_7c")
"""The last three modules: the later, the narrower and the more of one action are their maps (S3 figure 4.2)."""

Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Explained:
    """What a system sees in one video and where it looks. P places, h and w of a map."""

    id: str
    label: int
    classes: tuple[str, ...]
    at_P: tuple[int, ...]
    """Frame of each place, which is also the first flow of its stack."""
    frames_P: Sequence[Pixels]
    stacks_P: Sequence[Pixels]
    bound: float
    """Pixels of motion that level 255 of the stacks stands for."""
    asked: int
    """The class that the layers were asked about."""
    layers: Mapping[tuple[Stream, str], Maps]
    """Grad-CAM, P,h,w, of the first round's networks, by stream and layer."""
    attention: Mapping[Stream, Maps]
    """P,h,w, from the attention nets: S under "spatial", T under "temporal"; empty for a system without attention."""
    scores_K: npt.NDArray[np.float32]
    """Fused probabilities, mean over the places shown."""


def entry_of(data: PairedData, video_id: str) -> tuple[Entry, int]:
    """Return the place of a video of any split, and its label.

    Raises:
        UserError: there is no such video, or it has no flow.
    """
    rows = {row.id: row for row in data.prepared.rows if row.id in data.flow.videos}
    if video_id not in rows:
        some = ", ".join(list(rows)[:3])
        fix = "choose one of the prepared videos that have flow"
        raise UserError(problem("There is no such video", got=video_id, allowed=f"an id such as {some}", fix=fix))
    row, flow = rows[video_id], data.flow.videos[video_id]
    return Entry(video_id, row.frames, row.shard, row.row, flow.shard, flow.row), row.label


def some_videos(data: PairedData, split: str, fold: int, count: int) -> tuple[str, ...]:
    """Return ids of videos of a split, one of each class in turn."""
    videos = data.videos("spatial", split, fold)
    turn: dict[int, int] = {}
    order = []
    for position, video in enumerate(videos):
        turn[video.label] = turn.get(video.label, -1) + 1
        order.append((turn[video.label], video.label, position))
    return tuple(videos[position].id for *_, position in sorted(order)[:count])


def class_of(text: str, classes: Sequence[str]) -> int | None:
    """Return the index of a class text; None for no text.

    Raises:
        UserError: there is no such class.
    """
    if not text:
        return None
    if text not in classes:
        near = difflib.get_close_matches(text, classes, n=1)
        fix = f"did you mean {near[0]}?" if near else "give a class text as the official files have it"
        raise UserError(problem("There is no such class", got=text, allowed=f"{len(classes)} classes", fix=fix))
    return list(classes).index(text)


class VideoExplainer:
    """A system that says where it looks, on the CPU.

    Args:
        system: trained.
        eye: loads videos; its viewing says at how many places.
        data: frames and flow.
    """

    def __init__(self, system: System, eye: Eye, data: PairedData) -> None:
        variants: tuple[Variant, ...] = tuple(v for v in variants_of(system.recipe) if v != "blind")
        self._answerer = Answerer(system, variants)
        self._system, self._eye, self.data = system, eye, data

    def explain(self, video_id: str, asked: int | None = None) -> Explained:
        """Explain one video.

        Args:
            video_id: of the prepared data set.
            asked: class that the layers are asked about; None: the predicted one.

        Raises:
            UserError: no such video.
        """
        entry, label = entry_of(self.data, video_id)
        looked = list(self._eye.see(entry))
        seen_P = [seen for _, seen in looked]
        answer = self._answerer.answer(seen_P)
        scores_K = _scores(answer)
        chosen = int(scores_K.argmax()) if asked is None else asked
        return Explained(
            id=video_id,
            label=label,
            classes=self._system.classes,
            at_P=tuple(at for at, _ in looked),
            frames_P=[seen.spatial.resized_HWC for seen in seen_P],
            stacks_P=[seen.temporal.resized_HWC for seen in seen_P],
            bound=self.data.flow.bound,
            asked=chosen,
            layers=self._layers(seen_P, chosen),
            attention=answer.maps,
            scores_K=scores_K,
        )

    def _layers(self, seen_P: Sequence[Seen], asked: int) -> dict[tuple[Stream, str], Maps]:
        found: dict[tuple[Stream, str], Maps] = {}
        for stream in STREAMS:
            net = self._answerer.plain[stream]
            pictures = [seen.spatial if stream == "spatial" else seen.temporal for seen in seen_P]
            x_P1HWC = torch.from_numpy(np.stack([picture.whole_HWC for picture in pictures])).unsqueeze(1)
            channel = START_ATTENTION if net.config.attention_channel else None
            x_PCHW = to_input(x_P1HWC, channel, net.config)[:, 0]
            maps = grad_cam(net, x_PCHW, torch.full((len(seen_P),), asked), LAYERS)
            found |= {(stream, layer): map_Phw.numpy() for layer, map_Phw in maps.items()}
        return found


def open_explainer(system: System, places: int) -> VideoExplainer:
    """Return what explains videos of the data that a system was trained and tested on.

    Raises:
        UserError: the data is not where it was, or is other data.
    """
    recipe = system.recipe
    data = PairedData.open(recipe.data.root, recipe.flow_root)
    check_data(system, data, allow_other=False)
    viewing = Viewing(places=places, short_side=recipe.pair.short_side)
    return VideoExplainer(system, eye_of(data, system, viewing), data)


def _scores(answer: Answer) -> npt.NDArray[np.float32]:
    variant: Variant = "with" if ("with", "spatial") in answer.probabilities else "without"
    spatial_K, temporal_K = (torch.from_numpy(answer.probabilities[variant, s]).mean(dim=0) for s in STREAMS)
    fused: npt.NDArray[np.float32] = fuse(spatial_K, temporal_K, FUSION).numpy()
    return fused
