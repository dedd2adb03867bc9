"""A trained network behind the annotation page's what-if: its answer when people's attention replaces its own."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
import torch

from pipeline.annotate.database import Database
from pipeline.annotate.frames import Pictures
from pipeline.annotate.tables import campaigns
from pipeline.annotate.whatif import WhatIfDesk
from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig
from pipeline.data.feed.augment import view_crop
from pipeline.data.feed.sampling import view_indices
from pipeline.data.records import EncodedVideo
from pipeline.data.store.shards import decode_frames
from pipeline.eval.load import Recogniser, load
from pipeline.eval.metrics import softmax
from pipeline.registry.locate import find_checkpoint
from pipeline.train.device import autocast, to_model_input

SHOWN = 3


class EditedNetwork:
    """What `pipeline.annotate.whatif` asks.

    Args:
        network: a trained network with temporal attention.

    Raises:
        UserError: a network without.
    """

    def __init__(self, network: Recogniser) -> None:
        if not network.has_attention:
            got, fix = f"a {network.recipe.model.arch}", "give the run of an st_abn network"
            raise UserError(problem("There is no attention to replace", got=got, allowed="st_abn", fix=fix))
        self._network = network

    @torch.inference_mode()
    def scores(
        self, video: EncodedVideo, window: tuple[int, int, int], attention_V: npt.NDArray[np.float32] | None
    ) -> npt.NDArray[np.float64]:
        """Return softmax scores of all classes, shape (K,).

        Args:
            video: the whole video.
            window: start, stop, stride of the clip, as a campaign names it.
            attention_V: a value for every frame of the video; None leaves the network's own.
        """
        network = self._network
        idx_T = clip_frames(window, len(video.jpeg_V), network.recipe.clip)
        distinct, position_T = np.unique(idx_T, return_inverse=True)
        x_THWC = view_crop(decode_frames(video, distinct.tolist()), network.recipe.clip, crop=0, crops=1)[position_T]
        x_BTHWC = torch.from_numpy(x_THWC[None])
        x_BCTHW = to_model_input(x_BTHWC, network.device, network.precision, network.recipe.train.channels_last)
        given = None if attention_V is None else torch.from_numpy(attention_V[idx_T][None])
        with autocast(network.device, network.precision):
            logits_BK = network.model(x_BCTHW, temporal_override_BT=given).logits_BK
        return softmax(logits_BK[0].float().cpu().numpy()).astype(np.float64)


def clip_frames(window: tuple[int, int, int], video_frames: int, clip: ClipConfig) -> npt.NDArray[np.int32]:
    """Return the video frame behind each clip frame of a campaign's window; the last is held where the video ends.

    A uniform window names no frames: such networks are asked about the centred clip, which is what they answered.
    """
    if clip.sampling == "uniform":
        return view_indices(video_frames, clip, 0, 1)[0]
    start, _, stride = window
    return np.minimum(start + stride * np.arange(clip.frames), video_frames - 1).astype(np.int32)


def open_desk(run: str, storage: str, database: Database, pictures: Pictures) -> WhatIfDesk:
    """Return the what-if of a service whose campaigns a network was mined for.

    Args:
        run: a run by name, folder or MLflow id, a checkpoint's folder, or a registered model; the best checkpoint of a
            run answers, on the CPU.
        storage: run storage.
        database: the service's, with its campaigns.
        pictures: reads the videos.

    Raises:
        UserError: there is no such training, its network has no attention, or it knows other classes than a campaign.
    """
    network = load(find_checkpoint(run, storage))
    with database.read() as connection:
        rows = connection.execute(sa.select(campaigns.c.id, campaigns.c.facts)).all()
    for row in rows:
        if tuple(row.facts["classes"]) != network.classes:
            what = f"The network of {run} knows other classes than campaign {row.id}"
            fix = "give the run that the campaign was mined with, serve the campaign from a --database of its own, or "
            fix += "leave --run away"
            raise UserError(problem(what, got=_some(network.classes), allowed=_some(row.facts["classes"]), fix=fix))
    return WhatIfDesk(EditedNetwork(network), pictures)


def _some(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes: {'; '.join(classes[:SHOWN])}{'; ...' if len(classes) > SHOWN else ''}"
