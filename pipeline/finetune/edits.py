"""What people said of videos, out of sealed batches and ready for a loss: a score and a mask for every video frame.

A frame counts when a person has set it: with the brush, or by filling between two marks. What an editor left of the
model's own output is no answer of a person, and unset frames are nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.annotate.batches import INDEX_BASE, Batch, BatchRow, read_batch
from pipeline.annotate.rules import SOURCES
from pipeline.core.errors import UserError, problem
from pipeline.data.records import PreparedVideo

BY_PEOPLE = (SOURCES.index("human"), SOURCES.index("filled"))
SHOWN = 5


@dataclass(frozen=True)
class Edit:
    """What people said of one video."""

    video: str
    label: int
    scores_V: npt.NDArray[np.float32]
    """In [0, 1]; 0 where unset."""
    set_V: npt.NDArray[np.bool_]
    """True where a person has set the frame."""
    maps: Mapping[int, npt.NDArray[np.float32]]
    """14 x 14 values by video frame, where people also said where."""


@dataclass(frozen=True)
class Edits:
    """What some sealed batches say."""

    train: Mapping[str, Edit]
    """By video; trained on."""
    heldout: Mapping[str, Edit]
    """By video; never trained on, to measure on."""
    rows: int
    """Of all batches: those trained on, held out and superseded."""
    superseded: int
    """Rows to whose video a later row says something else."""
    passports: tuple[str, ...]
    """Of the prepared data sets whose frames people saw."""

    @property
    def classes(self) -> tuple[int, ...]:
        """Class indices of all edited videos, ascending."""
        return tuple(sorted({edit.label for edits in (self.train, self.heldout) for edit in edits.values()}))

    @property
    def maps(self) -> int:
        """Frames of videos to train on in which people pointed."""
        return sum(len(edit.maps) for edit in self.train.values())

    def sentence(self) -> str:
        """Say how many there are."""
        frames = sum(int(edit.set_V.sum()) for edit in self.train.values())
        pointed = f", {self.maps} with a map" if self.maps else ""
        return (
            f"{len(self.train)} edited videos to train on ({frames} frames set by people{pointed}), "
            f"{len(self.heldout)} held out, {self.superseded} superseded rows, of {self.rows} in all; "
            f"{len(self.classes)} classes"
        )


def read_edits(batches: Sequence[str]) -> Edits:
    """Read sealed batches, checking every byte.

    Of several rows of one video the one submitted last counts. A video that any batch holds out is held out.

    Args:
        batches: their folders, paths or URIs.

    Raises:
        UserError: a batch is not there or not what was sealed (names the file), scores that are no answer, or nothing
            to train on.
    """
    read = [read_batch(uri) for uri in dict.fromkeys(batches)]
    rows = [row for batch in read for row in batch.rows]
    for row in rows:
        _check_row(row)
    kept_out = held_out(read)
    edits = {video: _edit(row) for video, (_, row) in sorted(standing(read).items())}
    train = {video: edit for video, edit in edits.items() if video not in kept_out}
    if not train:
        fix = "seal a batch of a campaign with settings.heldout_share below 1, and name it with --batches"
        got = f"{len(rows)} rows of {len(read)} batches, {len(kept_out)} videos held out"
        raise UserError(problem("There is no edit to train on", got=got, allowed="one or more", fix=fix))
    heldout = {video: edit for video, edit in edits.items() if video in kept_out}
    return Edits(train, heldout, len(rows), len(rows) - len(edits), _passports(read))


def standing(batches: Sequence[Batch]) -> dict[str, tuple[Batch, BatchRow]]:
    """Return of every video the row that counts, with its batch: the last submitted, whatever the order of batches."""
    found = [(row.submitted_at, batch.id, batch, row) for batch in batches for row in batch.rows]
    return {row.video_id: (batch, row) for *_, batch, row in sorted(found, key=lambda one: one[:2])}


def held_out(batches: Sequence[Batch]) -> set[str]:
    """Return the videos that any batch holds out: what people said of them is never trained on."""
    return {row.video_id for batch in batches for row in batch.rows if row.split != "train"}


def check_edits(edits: Edits, videos: Iterable[PreparedVideo], what: str) -> None:
    """Refuse edits of videos that are not the ones trained on.

    Args:
        edits: from `read_edits`.
        videos: of the training split.
        what: names the split and data set, for the message.

    Raises:
        UserError: names edited videos that are absent, or have another number of frames or another class.
    """
    known = {video.id: video for video in videos}
    wrong = []
    for edit in (*edits.train.values(), *edits.heldout.values()):
        video = known.get(edit.video)
        if video is None:
            wrong.append(f"{edit.video} is not in it")
        elif (video.frames, video.label) != (len(edit.scores_V), edit.label):
            edited = f"edited with {len(edit.scores_V)} frames as class {edit.label}"
            wrong.append(f"{edit.video} has {video.frames} frames and class {video.label}, {edited}")
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        fix = "name the prepared data set that the campaign was made from, or leave the batch away"
        found = "; ".join(wrong[:SHOWN]) + more
        raise UserError(problem(f"{len(wrong)} edited videos do not fit {what}", got=found, allowed=what, fix=fix))


def targets(
    edits: Mapping[str, Edit], ids: Sequence[str], idx_BT: npt.NDArray[np.int32], valid_BT: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Gather the edited scores of the frames that clips show.

    Args:
        edits: by video.
        ids: video of each clip.
        idx_BT: video frame behind each clip frame.
        valid_BT: False where a clip is padded.

    Returns:
        target_BT, 0 where there is none, and mask_BT, True where it counts: a frame of the video that a person set.
    """
    target_BT, mask_BT = np.zeros(idx_BT.shape, np.float32), np.zeros(idx_BT.shape, np.bool_)
    for b, video in enumerate(ids):
        if (edit := edits.get(video)) is not None:
            mask_BT[b] = valid_BT[b] & edit.set_V[idx_BT[b]]
            target_BT[b] = np.where(mask_BT[b], edit.scores_V[idx_BT[b]], 0.0)
    return target_BT, mask_BT


def _edit(row: BatchRow) -> Edit:
    set_V = np.array(
        [s is not None and who in BY_PEOPLE for s, who in zip(row.scores, row.source, strict=True)], np.bool_
    )
    scores_V = np.where(set_V, np.array([s or 0.0 for s in row.scores], np.float32), np.float32(0))
    cells = [np.asarray(cells, np.float32) for cells in row.spatial_maps]
    maps = dict(zip(row.spatial_frames, cells, strict=True))
    return Edit(row.video_id, row.label, scores_V, set_V, maps)


def _check_row(row: BatchRow) -> None:
    known = [score for score in row.scores if score is not None]
    fits = len(row.scores) == len(row.source) == row.num_frames and row.index_base == INDEX_BASE
    if not fits or not all(0.0 <= score <= 1.0 for score in known):
        got = f"{len(row.scores)} scores from {min(known, default=0):g} to {max(known, default=0):g}"
        allowed = f"{row.num_frames} scores from 0 to 1, frames counted from {INDEX_BASE}"
        fix = "correct the program that wrote the batch"
        raise UserError(problem(f"The scores of video {row.video_id} are no answer", got=got, allowed=allowed, fix=fix))


def _passports(batches: Sequence[Batch]) -> tuple[str, ...]:
    return tuple(sorted({str(batch.manifest["passport"]) for batch in batches if batch.manifest.get("passport")}))
