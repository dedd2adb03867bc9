"""Your own videos: one folder a class (with split folders around them, if any), or `videos.csv`.

Folders:  `root/<class>/<video>`  or  `root/{train,validation,test}/<class>/<video>`  (`val` means validation).
CSV:      header `path,label,split`; an empty label is a hidden one. The file may also be given itself as metadata.
Class indices follow `classes.txt` (one a line) when it is there, otherwise the sorted names.
Everything that does not start with a dot is listed, so that a stray file ends in the quarantine, counted.
"""

import csv
import io
import posixpath

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.listing.official import (
    checked_listing,
    entries,
    find_file,
    malformed,
    read_lines,
    read_text,
    require_file,
)
from pipeline.data.records import HIDDEN_LABEL, Listing, VideoRecord

CSV_NAME = "videos.csv"
CLASSES_NAME = "classes.txt"
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
Row = tuple[str, str, str]
"""Path, class text ("" when hidden), split."""


def load(root: str, metadata: str | None) -> Listing:
    """List the data set from the CSV when there is one, otherwise from the folders.

    Raises:
        UserError: malformed CSV, an unknown split or class, files outside class folders, two videos of one id.
    """
    home, csv_name = metadata or root, CSV_NAME
    if metadata and metadata.endswith(".csv"):
        home, csv_name = posixpath.split(metadata)
        table: str | None = require_file([home], [csv_name], "path, label and split of every video")
    else:
        table = find_file([home], [csv_name])
    rows = _read_csv(table) if table else _walk(root)
    classes = _classes(home, rows)
    index = {text: label for label, text in enumerate(classes)}
    records = [
        VideoRecord(
            id=posixpath.splitext(path)[0],
            path=path,
            label=index[text] if text else HIDDEN_LABEL,
            split=(split,),
        )
        for path, text, split in rows
    ]
    return checked_listing("folder", root, classes, records)


def _read_csv(uri: str) -> list[Row]:
    reader = csv.reader(io.StringIO(read_text(uri), newline=""))
    rows: list[Row] = []
    for fields in reader:
        if not fields:
            continue
        shown, number = ",".join(fields), reader.line_num
        if number == 1:
            if fields != ["path", "label", "split"]:
                raise malformed(uri, number, shown, "the header path,label,split")
            continue
        if len(fields) != 3 or not fields[0] or fields[2] not in SPLITS:
            raise malformed(uri, number, shown, f"path,label,split with a split of {', '.join(SPLITS)}")
        rows.append((fields[0], fields[1], SPLITS[fields[2]]))
    return rows


def _walk(root: str) -> list[Row]:
    """Rows of a tree of class folders, sorted."""
    tops = [name for name in _visible(root) if name != CLASSES_NAME]
    if tops and all(name in SPLITS for name in tops):
        return [
            (posixpath.join(top, path), text, SPLITS[top]) for top in tops for path, text in _walk_classes(root, top)
        ]
    mixed = [name for name in tops if name in SPLITS]
    if mixed:
        raise UserError(
            problem(
                f"{root} mixes split folders and others",
                got=f"{', '.join(mixed)} beside {', '.join(n for n in tops if n not in SPLITS)}",
                allowed="only split folders, or only class folders",
                fix="move the class folders into split folders, or write a videos.csv",
            )
        )
    return [(path, text, "train") for path, text in _walk_classes(root, "")]


def _walk_classes(root: str, top: str) -> list[tuple[str, str]]:
    """(path below `top`, class) of every video; the class is the name of its folder."""
    home = storage.join(root, top) if top else root
    rows = []
    for text, is_folder in _visible(home).items():
        if not is_folder:
            if text == CLASSES_NAME:
                continue
            raise UserError(
                problem(
                    "A file lies outside the class folders",
                    got=storage.join(home, text),
                    allowed="videos inside folders named after their class",
                    fix="move it into a class folder, or write a videos.csv",
                )
            )
        rows += [(posixpath.join(text, name), text) for name in _visible(storage.join(home, text))]
    return rows


def _visible(folder: str) -> dict[str, bool]:
    return {name: is_folder for name, is_folder in entries(folder).items() if not name.startswith(".")}


def _classes(folder: str, rows: list[Row]) -> list[str]:
    used = {text for _, text, _ in rows if text}
    if find_file([folder], [CLASSES_NAME]) is None:
        return sorted(used)
    classes = [line for _, line in read_lines(storage.join(folder, CLASSES_NAME))]
    if unknown := sorted(used - set(classes)):
        raise UserError(
            problem(
                f"Videos have classes that {CLASSES_NAME} does not name",
                got=unknown[:5],
                allowed=", ".join(classes),
                fix=f"add them to {storage.join(folder, CLASSES_NAME)}, or remove that file",
            )
        )
    return classes
