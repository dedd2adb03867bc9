"""The clips whose temporal attention changed most between champion and candidate, drawn under both.

Out of the answers that the comparison has kept: some that only the candidate gets right, some that only the champion
does, and the rest by how much attention moved.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.data.records import PreparedVideo
from pipeline.eval.load import load
from pipeline.explain.page import webp
from pipeline.finetune.strip import draw, look

STRIPS = "strips.json"
KINDS = ("lost", "gained", "kept")
"""Only the champion is right; only the candidate is; both or neither."""
EACH = 2


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far a video's temporal attention moved."""

    video: str
    label: str
    """Text of its class."""
    before: str
    """Class that the champion answers."""
    after: str
    """Class that the candidate answers."""
    change: float
    """Mean absolute difference of temporal attention over the clip's frames, padding left out."""

    @property
    def kind(self) -> str:
        """One of KINDS."""
        was, now = self.before == self.label, self.after == self.label
        return "kept" if was == now else "gained" if now else "lost"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """One drawn clip."""

    moved: Moved
    image: bytes
    """WebP."""

    @property
    def video(self) -> str:
        """Its id."""
        return self.moved.video

    def words(self) -> str:
        """Say what is to be seen."""
        m = self.moved
        same = m.before == m.after
        said = f"both answer {m.after}" if same else f"the champion answers {m.before}, the candidate {m.after}"
        return (
            f"{m.video}, {m.label}: {said}. Temporal attention moved by {m.change:.2f} on average; champion above the "
            "frames, candidate below."
        )


def most_changed(champion: str, candidate: str, classes: Sequence[str]) -> tuple[Moved, ...]:
    """Return the clips to be shown: those of each kind that changed most.

    Args:
        champion: file of its answers, as `eval.evaluate` writes it.
        candidate: likewise, of the same videos.
        classes: class texts by class index.
    """
    before, after = _answers(champion), _answers(candidate)
    moved = []
    for video, (label, was, attention_T) in before.items():
        _, now, other_T = after[video]
        change = float(np.abs(attention_T - other_T).mean())
        names = [classes[k] for k in (label, was, now)]
        moved.append(Moved(video=video, label=names[0], before=names[1], after=names[2], change=change))
    moved.sort(key=lambda one: (-one.change, one.video))
    chosen = [one for kind in KINDS for one in [m for m in moved if m.kind == kind][:EACH]]
    rest = [one for one in moved if one not in chosen][: EACH * len(KINDS) - len(chosen)]
    return (*chosen, *rest)


def _answers(predictions: str) -> dict[str, tuple[int, int, np.ndarray]]:
    """Return label, answer and temporal attention of every video with a known class; padding is left out."""
    filesystem, path = storage.resolve(predictions)
    columns = ["id", "label", "scores", "temporal", "valid"]
    table = pq.read_table(path, filesystem=filesystem, columns=columns, filters=[("inversion", "=", "none")])
    return {
        row["id"]: (row["label"], int(np.argmax(row["scores"])), np.array(row["temporal"])[np.array(row["valid"])])
        for row in table.to_pylist()
        if row["label"] >= 0
    }


def draw_strips(
    chosen: Sequence[Moved], champion: str, candidate: str, root: str, videos: Sequence[PreparedVideo], out: str
) -> tuple[Strip, ...]:
    """Draw clips under both networks, in this process, and write the pictures; those that are there already stay.

    Args:
        chosen: from `most_changed`.
        champion: folder of its checkpoint.
        candidate: likewise.
        root: of the prepared data set.
        videos: at least those to be drawn.
        out: the plan's folder.
    """
    index = storage.join(out, STRIPS)
    if storage.exists(index):
        return read_strips(index)
    networks = {"champion": load(champion), "candidate": load(candidate)} if chosen else {}
    by_id = {video.id: video for video in videos}
    strips = []
    for place, moved in enumerate(chosen, 1):
        image = webp(draw(look(networks, root, by_id[moved.video])))
        storage.publish_bytes(storage.join(out, f"strip-{place}.webp"), image)
        strips.append(Strip(moved=moved, image=image))
    storage.write_json(index, [asdict(moved) for moved in chosen])
    return tuple(strips)


def read_strips(index: str) -> tuple[Strip, ...]:
    """Return what `draw_strips` has written beside its index; nothing when it has not."""
    if not storage.exists(index):
        return ()
    folder = storage.parent(index)
    return tuple(
        Strip(moved=Moved(**moved), image=storage.read_bytes(storage.join(folder, f"strip-{place}.webp")))
        for place, moved in enumerate(storage.read_json(index), 1)
    )
