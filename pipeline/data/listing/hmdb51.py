"""HMDB-51: 51 classes times three split files, `<class>_test_split<n>.txt`, lines `name flag`.

Flags: 1 train, 2 test, 0 unused in that split. Published copies order the classes differently, so the order used is
stated: that of `class_list.txt` when the file is there, otherwise the sorted names of the split files. Counts: 6,766
videos, 3570/1530 in each split.
"""

import logging
import posixpath
import re

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.listing.official import checked_listing, entries, find_file, find_folder, malformed, read_lines
from pipeline.data.records import Listing, VideoRecord

log = logging.getLogger(__name__)

FOLDS = 3
VIDEO_FOLDERS = ("hmdb51_org", "videos")
METADATA_FOLDERS = ("testTrainMulti_7030_splits", "splits")
CLASS_LIST = "class_list.txt"
MEMBERSHIP = {"0": "unused", "1": "train", "2": "test"}
SPLIT_FILE = re.compile(r"(?P<text>.+)_test_split(?P<fold>[123])\.txt")


def load(root: str, metadata: str | None) -> Listing:
    """List the data set; `metadata` or `root` (or `testTrainMulti_7030_splits/` in it) holds the split files.

    Raises:
        UserError: split files or classes are absent or do not match, a line is malformed, a video listed twice.
    """
    home = find_folder(metadata or root, METADATA_FOLDERS)
    videos = find_folder(root, VIDEO_FOLDERS)
    classes, source = class_order(home)
    log.info("HMDB-51: class ids follow %s in %s", source, home)
    records = []
    for label, text in enumerate(classes):
        membership: dict[str, list[str]] = {}
        for fold in range(FOLDS):
            for name, split in _read_split(storage.join(home, f"{text}_test_split{fold + 1}.txt")):
                membership.setdefault(name, ["unused"] * FOLDS)[fold] = split
        records += [
            VideoRecord(
                id=posixpath.splitext(f"{text}/{name}")[0], path=f"{text}/{name}", label=label, split=tuple(splits)
            )
            for name, splits in membership.items()
        ]
    return checked_listing("hmdb51", videos, classes, records)


def class_order(folder: str) -> tuple[list[str], str]:
    """The class names in index order, and where the order comes from: "class_list.txt" or "sorted split files".

    Raises:
        UserError: no split files, a class without all three, or a class list that names other classes.
    """
    folds: dict[str, set[int]] = {}
    for name in entries(folder):
        if match := SPLIT_FILE.fullmatch(name):
            folds.setdefault(match["text"], set()).add(int(match["fold"]))
    incomplete = [text for text, found in sorted(folds.items()) if len(found) != FOLDS]
    if not folds or incomplete:
        raise UserError(
            problem(
                "The split files of HMDB-51 are not complete",
                got=f"{folder}: {len(folds)} classes, of which without three files: {incomplete[:5] or 'none'}",
                allowed="<class>_test_split1.txt, 2 and 3 for every class",
                fix="unpack testTrainMulti_7030_splits.rar beside the videos, or give its folder as metadata",
            )
        )
    if find_file([folder], [CLASS_LIST]) is None:
        return sorted(folds), "sorted split files"
    classes = [line for _, line in read_lines(storage.join(folder, CLASS_LIST))]
    if set(classes) != set(folds):
        raise UserError(
            problem(
                f"{CLASS_LIST} and the split files of HMDB-51 name different classes",
                got=sorted(set(classes) ^ set(folds)),
                allowed="the same classes in both",
                fix=f"mend {storage.join(folder, CLASS_LIST)}, or remove it to use the sorted names",
            )
        )
    return classes, CLASS_LIST


def _read_split(uri: str) -> list[tuple[str, str]]:
    """(video file name, membership) of one split file; names may hold any character but a line's last blank."""
    rows: dict[str, str] = {}
    for number, line in read_lines(uri):
        name, _, flag = line.rpartition(" ")
        name = name.strip()
        if not name or flag not in MEMBERSHIP or name in rows:
            raise malformed(uri, number, line, "'video.avi flag' with flag 0, 1 or 2, every video once")
        rows[name] = MEMBERSHIP[flag]
    return list(rows.items())
