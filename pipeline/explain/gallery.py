"""What `jobs/explain.py` writes for a video, and what it may know of it beforehand."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.eval.load import Recogniser
from pipeline.explain.animate import encode
from pipeline.explain.explanation import Explanation, to_npz
from pipeline.explain.page import Pictures, Report, png, render_page
from pipeline.explain.strip import StripStyle, draw_strip


@dataclass(frozen=True)
class Known:
    """What is known of a video without looking at it."""

    label: int | None = None
    active_V: npt.NDArray[np.bool_] | None = None
    """True frames of action."""


def known_of(truth_uri: str, label: str, classes: Sequence[str]) -> Callable[[str], Known]:
    """Return what looks up a video's class and action.

    Args:
        truth_uri: truth.parquet of make_synth; empty for none. A video is found by the end of its path.
        label: class text or index of all videos; empty if unknown, or told by the truth.
        classes: the network's.

    Raises:
        UserError: a label that is no class; from the result, a video that the truth does not list.
    """
    index = _index_of(label, classes) if label else None
    if not truth_uri:
        return lambda _: Known(index)
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(truth_uri)), columns=["path", "class_name", "active"])
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        fix, got = "give the truth.parquet that jobs/make_synth.py wrote", f"{truth_uri} ({error})"
        raise UserError(problem("The truth cannot be read", got=got, allowed="a truth file", fix=fix)) from error
    rows = table.to_pylist()

    def look_up(video: str) -> Known:
        place = PurePosixPath(storage.absolute(video)).parts
        listed = [(PurePosixPath(row["path"]).parts, row) for row in rows]
        found = [(parts, row) for parts, row in listed if place[-len(parts) :] == parts]
        if not found:
            fix = "give videos of the data set that the truth belongs to, by their paths in it"
            raise UserError(problem("The truth does not know this video", got=video, allowed="a listed path", fix=fix))
        _, row = max(found, key=lambda pair: len(pair[0]))  # up/1.mp4 before a 1.mp4 at the top
        own = index if index is not None else _index_of(row["class_name"], classes)
        return Known(own, np.array(row["active"], np.bool_))

    return look_up


def _index_of(label: str, classes: Sequence[str]) -> int:
    """Return the class that a text or an index means."""
    if label in classes:
        return list(classes).index(label)
    if label.isdigit() and int(label) < len(classes):
        return int(label)
    shown = ", ".join(classes[:6]) + (f" and {len(classes) - 6} more" if len(classes) > 6 else "")
    allowed = f"an index below {len(classes)}, or one of: {shown}"
    raise UserError(problem("The network has no such class", got=label, allowed=allowed, fix="correct --label"))


def folder_names(videos: Sequence[str]) -> list[str]:
    """Return a folder name for each video: its file's name, with a number where two would be equal."""
    stems = [Path(video).stem for video in videos]
    twice = {stem for stem, times in Counter(stems).items() if times > 1}
    seen: Counter[str] = Counter()
    names = []
    for stem in stems:
        seen[stem] += 1
        names.append(f"{stem}-{seen[stem]}" if stem in twice else stem)
    return names


def write_explanation(
    folder: str,
    network: Recogniser,
    windows: Sequence[Explanation],
    style: StripStyle,
    form: Literal["webp", "gif"] = "webp",
) -> str:
    """Write strips, animations, arrays and the page of one video.

    Args:
        folder: path or URI.
        network: the network that was explained.
        windows: its explanations of one video.
        style: of the strips.
        form: of the animations.

    Returns:
        Path or URI of the page.
    """
    pictures = tuple(Pictures(draw_strip(window, style), encode(window, form), form) for window in windows)
    for number, (window, drawn) in enumerate(zip(windows, pictures, strict=True), start=1):
        storage.publish_bytes(storage.join(folder, f"strip-{number}.png"), png(drawn.strip_HWC))
        storage.publish_bytes(storage.join(folder, f"clip-{number}.{form}"), drawn.animation)
        storage.publish_bytes(storage.join(folder, f"arrays-{number}.npz"), to_npz(window))
    facts = provenance(network)
    report = Report(title=windows[0].source, windows=tuple(windows), pictures=pictures, provenance=facts)
    page = storage.join(folder, "index.html")
    storage.publish_bytes(page, render_page(report).encode())
    return page


def provenance(network: Recogniser) -> dict[str, str]:
    """Return what a reader needs to repeat an explanation."""
    recipe, clip = network.recipe, network.recipe.clip
    way = f"{clip.frames} frames, stride {clip.stride}" if clip.sampling == "dense" else f"{clip.frames} segments"
    return {
        "recipe": recipe.name,
        "network": f"{recipe.model.arch}, {recipe.model.backbone}-{recipe.model.depth}, "
        f"{network.parameters:,} parameters, {len(network.classes)} classes",
        "clip": f"{way} ({clip.sampling}), short side {clip.short_side}, centre crop {clip.size}",
        "checkpoint": f"{network.checkpoint} (step {network.step})",
        "MLflow run": network.run_id or "none",
        "trained on": f"{recipe.data.root or 'unknown'}, passport {network.passport.digest}",
        "precision": network.precision,
    }
