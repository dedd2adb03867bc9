"""UCF-101: the three official splits (`trainlist01.txt` ... `testlist03.txt`) and `classInd.txt`.

Class ids come from classInd.txt (whose order is not the sorted one), never from a directory listing. The lists spell
one class `HandstandPushups/v_HandStandPushups_...` while copies of the data set spell folder and files either way; the
path is resolved to what is on disk, the id keeps the lists' spelling. Counts: 9537/3783, 9586/3734, 9624/3696.
"""

import posixpath

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.listing.official import checked_listing, entries, find_folder, malformed, read_lines, require_file
from pipeline.data.records import Listing, VideoRecord

FOLDS = 3
VIDEO_FOLDERS = ("UCF-101", "videos")
METADATA_FOLDERS = ("ucfTrainTestlist", "splits")
TWO_SPELLINGS = ("HandstandPushups", "HandStandPushups")


def load(root: str, metadata: str | None) -> Listing:
    """List the data set; `metadata` or `root` (or `ucfTrainTestlist/` in it) holds the lists.

    A video has one membership a fold: "train", "test", or "unused" where a fold does not list it.

    Raises:
        UserError: a file is absent, a line malformed, a class unknown, a label that contradicts the folder's class,
            a video listed twice in one fold.
    """
    home = metadata or root
    folders = [home, *(storage.join(home, name) for name in METADATA_FOLDERS)]
    videos = find_folder(root, VIDEO_FOLDERS)
    index = _read_classes(folders)

    labels: dict[str, int] = {}
    membership: dict[str, list[str]] = {}
    for fold in range(FOLDS):
        for split in ("train", "test"):
            for path, label in _read_list(folders, split, fold, index):
                splits = membership.setdefault(path, ["unused"] * FOLDS)
                if splits[fold] != "unused":
                    raise _in_both(path, fold)
                splits[fold] = split
                labels[path] = label

    spelling = _spellings_on_disk(videos)
    records = [
        VideoRecord(
            id=posixpath.splitext(path)[0],
            path=spelling.get(path.lower(), path),
            label=labels[path],
            split=tuple(splits),
        )
        for path, splits in membership.items()
    ]
    return checked_listing("ucf101", videos, list(index), records)


def _read_classes(folders: list[str]) -> dict[str, int]:
    """Class names to indices from 0, in the official order."""
    uri = require_file(folders, ["classInd.txt"], "the class names of UCF-101")
    index: dict[str, int] = {}
    for number, line in read_lines(uri):
        fields = line.split()
        if len(fields) != 2 or fields[0] != str(len(index) + 1) or fields[1] in index:
            raise malformed(uri, number, line, f"'{len(index) + 1} ClassName', numbered from 1 without gaps")
        index[fields[1]] = len(index)
    return index


def _read_list(folders: list[str], split: str, fold: int, index: dict[str, int]) -> list[tuple[str, int]]:
    """(path, label) of one list; training lists repeat the class number (from 1), which must agree with the folder."""
    uri = require_file(folders, [f"{split}list{fold + 1:02d}.txt"], f"fold {fold + 1}'s {split} part")
    by_name = {text.lower(): label for text, label in index.items()}
    rows: dict[str, int] = {}
    for number, line in read_lines(uri):
        path, *rest = line.split()
        label = by_name.get(posixpath.dirname(path).lower())
        if label is None:
            raise malformed(uri, number, line, "'Class/video.avi' with a class of classInd.txt")
        if (split == "train" and rest != [str(label + 1)]) or (split == "test" and rest):
            form = f"'{path} {label + 1}'" if split == "train" else "a path alone"
            raise malformed(uri, number, line, f"{form}, as classInd.txt numbers the class")
        if path in rows:
            raise malformed(uri, number, line, "every video once in a list")
        rows[path] = label
    return list(rows.items())


def _in_both(path: str, fold: int) -> UserError:
    return UserError(
        problem(
            f"A video is in both the training and the test list of fold {fold + 1} of UCF-101",
            got=path,
            allowed="one of the two",
            fix="download the official lists again",
        )
    )


def _spellings_on_disk(videos: str) -> dict[str, str]:
    """Lower-cased path to the path that exists, for the one class that the lists and the copies spell differently."""
    return {
        f"{folder}/{name}".lower(): f"{folder}/{name}"
        for folder in TWO_SPELLINGS
        for name in entries(storage.join(videos, folder))
    }
