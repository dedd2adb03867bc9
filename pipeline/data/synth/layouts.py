"""Where the videos of each official layout lie, and the official files that describe them.

Every layout is written in the form of its publishers, so that the parsers and decoders of the real data sets run on it.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.scene import Subject, used_classes

Layout = Literal["ssv2", "ssv1", "ucf101", "hmdb51", "folder"]
LAYOUTS: tuple[Layout, ...] = ("ssv2", "ssv1", "ucf101", "hmdb51", "folder")
FOLDS = 3
ODD = ("Ann;s_#1", "B&W_[short]", "What!_(take_2)")
"""Beginnings of HMDB-51-like file names; the real ones hold such characters."""


@dataclass(frozen=True)
class Planned:
    """A video before it is made."""

    number: int
    """Position in the data set; with the data set's seed, the seed of its scene."""
    id: str
    """As the parser of the layout will name it."""
    path: str
    """Below the data set's root: a video file, or a frame folder (ssv1)."""
    subject: int
    """Index into `used_classes` of the config."""
    label: int
    """Class index that the official files give."""
    split: tuple[str, ...]
    """Membership in each fold, as the parser will read it."""
    hidden: bool = False
    """Its label is not published."""


def class_names(config: SynthConfig, layout: Layout) -> list[str]:
    """Class names in the order of their indices (the sorted one), spelled as the layout spells them."""
    return sorted(_spell(subject, layout) for subject in used_classes(config))


def plan(config: SynthConfig, layout: Layout, seed: int) -> list[Planned]:
    """List the videos of a data set: part after part, classes in turn, so that every part is balanced."""
    names = class_names(config, layout)
    subjects = used_classes(config)
    parts = [("train", config.train), ("validation", config.validation), ("test", config.test)]
    if layout in ("ucf101", "hmdb51"):
        parts = [("", config.train + config.validation)]
    slots = [(part, number) for part, count in parts for number in range(count)]
    # Ids tell nothing about part or class, as in the real data set.
    tickets = np.random.default_rng((seed, len(slots))).permutation(len(slots)) + 1
    per_class = len(slots) // len(subjects)
    planned = []
    for number, (part, turn) in enumerate(slots):
        subject = turn % len(subjects)
        name = _spell(subjects[subject], layout)
        id_, path, split = _place(layout, name, turn // len(subjects), per_class, part, int(tickets[number]))
        planned.append(Planned(number, id_, path, subject, names.index(name), split, hidden=part == "test"))
    return planned


def official_files(
    layout: Layout, config: SynthConfig, planned: Sequence[Planned], nouns: Sequence[str]
) -> dict[str, str]:
    """Names and texts of the official files; `nouns` are the objects ("red box") of the videos, in order."""
    return _WRITERS[layout](config, planned, nouns)


def _spell(subject: Subject, layout: Layout) -> str:
    if layout == "ucf101":
        return "".join(word.capitalize() for word in subject.text.split())
    if layout == "hmdb51":
        return subject.text.lower().replace(" ", "_")
    return subject.text


def _place(
    layout: Layout, name: str, nth: int, per_class: int, part: str, ticket: int
) -> tuple[str, str, tuple[str, ...]]:
    """Id, path and memberships of the `nth` video of the class `name`."""
    if layout == "ucf101":
        clips = max(1, min(4, per_class // FOLDS))
        group = nth // clips
        id_ = f"{name}/v_{name}_g{group + 1:02d}_c{nth % clips + 1:02d}"
        return id_, f"{id_}.avi", tuple("test" if group % FOLDS == fold else "train" for fold in range(FOLDS))
    if layout == "hmdb51":
        id_ = f"{name}/{ODD[nth % len(ODD)]}_{name}_f_nm_np1_fr_goo_{nth}"
        unused = nth % 7 == 6
        marks = ("unused" if unused else "test" if nth % FOLDS == fold else "train" for fold in range(FOLDS))
        return id_, f"{id_}.avi", tuple(marks)
    if layout == "folder":
        suffix = ("mp4", "avi", "webm")[ticket % 3]
        return f"clips/{ticket:05d}", f"clips/{ticket:05d}.{suffix}", (part,)
    folder = f"20bn-something-something-{layout[2:]}"
    return str(ticket), f"{folder}/{ticket}" + (".webm" if layout == "ssv2" else ""), (part,)


def _ssv2_files(config: SynthConfig, planned: Sequence[Planned], nouns: Sequence[str]) -> dict[str, str]:
    templates = [subject.template for subject in used_classes(config)]
    files: dict[str, object] = {"labels": {name: str(k) for k, name in enumerate(class_names(config, "ssv2"))}}
    for part in ("train", "validation"):
        files[part] = [
            {
                "id": video.id,
                "label": _lower_first(templates[video.subject].replace("[something]", noun)),
                "template": templates[video.subject],
                "placeholders": [noun],
            }
            for video, noun in zip(planned, nouns, strict=True)
            if video.split == (part,)
        ]
    files["test"] = [{"id": video.id} for video in planned if video.hidden]
    return {f"something-something-v2-{part}.json": json.dumps(value) for part, value in files.items()}


def _ssv1_files(config: SynthConfig, planned: Sequence[Planned], nouns: Sequence[str]) -> dict[str, str]:
    names = class_names(config, "ssv1")
    files = {"labels": names}
    for part in ("train", "validation"):
        files[part] = [f"{video.id};{names[video.label]}" for video in planned if video.split == (part,)]
    files["test"] = [video.id for video in planned if video.hidden]
    return {f"something-something-v1-{part}.csv": _lines(lines, "\n") for part, lines in files.items()}


def _ucf101_files(config: SynthConfig, planned: Sequence[Planned], nouns: Sequence[str]) -> dict[str, str]:
    files = {"classInd": [f"{k} {name}" for k, name in enumerate(class_names(config, "ucf101"), start=1)]}
    for fold in range(FOLDS):
        train = [video for video in planned if video.split[fold] == "train"]
        test = [video for video in planned if video.split[fold] == "test"]
        files[f"trainlist{fold + 1:02d}"] = [f"{video.path} {video.label + 1}" for video in train]
        files[f"testlist{fold + 1:02d}"] = [video.path for video in test]
    return {f"{name}.txt": _lines(lines, "\r\n") for name, lines in files.items()}


def _hmdb51_files(config: SynthConfig, planned: Sequence[Planned], nouns: Sequence[str]) -> dict[str, str]:
    flags = {"unused": 0, "train": 1, "test": 2}
    names = class_names(config, "hmdb51")
    files = {"class_list": names}
    for label, name in enumerate(names):
        for fold in range(FOLDS):
            files[f"{name}_test_split{fold + 1}"] = [
                f"{video.path.partition('/')[2]} {flags[video.split[fold]]} "
                for video in planned
                if video.label == label
            ]
    return {f"{name}.txt": _lines(lines, "\n") for name, lines in files.items()}


def _folder_files(config: SynthConfig, planned: Sequence[Planned], nouns: Sequence[str]) -> dict[str, str]:
    names = class_names(config, "folder")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    writer.writerows([video.path, "" if video.hidden else names[video.label], video.split[0]] for video in planned)
    return {"videos.csv": text.getvalue()}


_WRITERS: dict[Layout, Callable[[SynthConfig, Sequence[Planned], Sequence[str]], dict[str, str]]] = {
    "ssv2": _ssv2_files,
    "ssv1": _ssv1_files,
    "ucf101": _ucf101_files,
    "hmdb51": _hmdb51_files,
    "folder": _folder_files,
}


def _lines(lines: Sequence[str], end: str) -> str:
    return "".join(line + end for line in lines)


def _lower_first(text: str) -> str:
    return re.sub(r"^\w", lambda first: first[0].lower(), text)
