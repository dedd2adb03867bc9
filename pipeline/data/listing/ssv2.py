"""Something-Something V2: the official JSON files.

A class is a template without its brackets; ids are strings; class 0 is "Approaching something with your camera" and
173 "Wiping something off of something". The test split's labels are not published. Counts: 168,913 / 24,777 / 27,157.
"""

import json
from typing import Any

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.listing.official import (
    checked_listing,
    find_file,
    find_folder,
    malformed,
    read_lines,
    read_text,
    require_file,
)
from pipeline.data.records import HIDDEN_LABEL, Listing, VideoRecord

PREFIX = "something-something-v2-"
VIDEO_FOLDERS = ("20bn-something-something-v2", "videos")
METADATA_FOLDERS = ("labels",)
TRAIN_FRAME_LIST = "train_videofolder.txt"


def load(root: str, metadata: str | None) -> Listing:
    """List the data set. Either `metadata` or `root` (or `labels/` in it) holds the JSON files.

    When the official train.json is absent, the training part is read from `train_videofolder.txt` (`id frames label`),
    the list that TSM and the authors of ST-ABN distribute.

    Raises:
        UserError: a file is absent or malformed, a template unknown, an id listed twice, a label out of range.
    """
    home = metadata or root
    folders = [home, *(storage.join(home, name) for name in METADATA_FOLDERS)]
    videos = find_folder(root, VIDEO_FOLDERS)
    labels = _read_labels(folders)

    train_json = find_file(folders, _names("train"))
    train_list = find_file(folders, [TRAIN_FRAME_LIST])
    if train_json is None and train_list is not None:
        train = _read_frame_list(train_list, classes=len(labels))
    else:
        train = _read_split(folders, "train", labels)
    validation = _read_split(folders, "validation", labels)
    test = [(id_, HIDDEN_LABEL) for id_ in _read_test(folders)]

    records = [
        VideoRecord(id=id_, path=f"{id_}.webm", label=label, split=(split,))
        for split, rows in (("train", train), ("validation", validation), ("test", test))
        for id_, label in rows
    ]
    return checked_listing("ssv2", videos, list(labels), records)


def _names(part: str) -> list[str]:
    """Both names a file has had: 20BN's and that of today's download."""
    return [f"{PREFIX}{part}.json", f"{part}.json"]


def _read_labels(folders: list[str]) -> dict[str, int]:
    """Class texts to indices, in the order of the indices."""
    uri = require_file(folders, _names("labels"), "the class names of Something-Something V2")
    table = _read_json(uri)
    try:
        labels = {str(text): int(index) for text, index in table.items()}
    except (AttributeError, TypeError, ValueError):
        labels = {}
    if not labels or sorted(labels.values()) != list(range(len(labels))):
        raise UserError(
            problem(
                f"{uri} does not number the classes",
                got=str(table)[:80],
                allowed='an object such as {"Approaching something with your camera": "0", ...} with every index once',
                fix="download it again",
            )
        )
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _read_split(folders: list[str], part: str, labels: dict[str, int]) -> list[tuple[str, int]]:
    """(id, label) of every entry of train.json or validation.json."""
    uri = require_file(folders, _names(part), f"the {part} part of Something-Something V2")
    rows = []
    for position, entry in enumerate(_entries(uri)):
        id_, template = str(entry["id"]), entry.get("template")
        if not isinstance(template, str):
            raise _bad_entry(uri, position, entry, 'an object with "id" and "template"')
        text = template.replace("[", "").replace("]", "")
        if text not in labels:
            raise _bad_entry(uri, position, text, "a template of the labels file")
        rows.append((id_, labels[text]))
    return rows


def _read_test(folders: list[str]) -> list[str]:
    uri = require_file(folders, _names("test"), "the test part of Something-Something V2")
    return [str(entry["id"]) for entry in _entries(uri)]


def _read_frame_list(uri: str, *, classes: int) -> list[tuple[str, int]]:
    rows = []
    for number, line in read_lines(uri):
        fields = line.split()
        if len(fields) != 3 or not (fields[1].isdigit() and fields[2].isdigit()) or int(fields[2]) >= classes:
            raise malformed(uri, number, line, f"'id frames label' with a label from 0 to {classes - 1}")
        rows.append((fields[0], int(fields[2])))
    return rows


def _entries(uri: str) -> list[dict[str, Any]]:
    table = _read_json(uri)
    if not isinstance(table, list):
        table = [table]
    for position, entry in enumerate(table):
        if not isinstance(entry, dict) or "id" not in entry:
            raise _bad_entry(uri, position, entry, 'an object with an "id"')
    return table


def _read_json(uri: str) -> Any:
    try:
        return json.loads(read_text(uri))
    except json.JSONDecodeError as error:
        raise malformed(uri, error.lineno, error.msg, "JSON as the publishers distribute it") from error


def _bad_entry(uri: str, position: int, got: object, allowed: str) -> UserError:
    return UserError(
        problem(
            f"Entry {position} (from 0) of {uri} could not be used",
            got=got,
            allowed=allowed,
            fix="mend the entry or download the files again; labels and lists must be of one release",
        )
    )
