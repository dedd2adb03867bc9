"""Reading a data set's official text files below a path or URI, with errors that name the file and the line."""

from collections.abc import Sequence

import pyarrow.fs as pafs

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.records import HIDDEN_LABEL, Listing, VideoRecord


def entries(folder: str) -> dict[str, bool]:
    """Name of everything in a folder, sorted, with True for folders; empty when the folder does not exist."""
    filesystem, path = storage.resolve(folder)
    infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return {info.base_name: info.type == pafs.FileType.Directory for info in sorted(infos, key=lambda i: i.base_name)}


def read_text(uri: str) -> str:
    """Content of a UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: the bytes are not UTF-8.
    """
    try:
        return storage.read_bytes(uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            problem(
                "An official file is not UTF-8 text",
                got=f"{uri}, byte {error.start}",
                allowed="the file as its publishers distribute it",
                fix="download it again",
            )
        ) from error


def read_lines(uri: str) -> list[tuple[int, str]]:
    """Lines of a file with their numbers from 1; surrounding blanks (CR too) are cut and empty lines left out."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(uri).split("\n"), start=1))
    return [(number, line) for number, line in lines if line]


def find_folder(root: str, names: Sequence[str]) -> str:
    """The first of the sub-folders `names` that exists below `root`, otherwise `root` itself."""
    folders = [storage.join(root, name) for name in names]
    found = (f for f, info in zip(folders, storage.infos(folders), strict=True) if info.type == pafs.FileType.Directory)
    return next(found, root)


def find_file(folders: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the files `names` that exists in one of `folders`, or None."""
    files = [storage.join(folder, name) for folder in folders for name in names]
    found = (f for f, info in zip(files, storage.infos(files), strict=True) if info.type == pafs.FileType.File)
    return next(found, None)


def require_file(folders: Sequence[str], names: Sequence[str], what: str) -> str:
    """Like `find_file`, for a file that the data set cannot be listed without.

    Raises:
        UserError: none of the names exists in any of the folders.
    """
    found = find_file(folders, names)
    if found is None:
        raise UserError(
            problem(
                f"The official file with {what} was not found",
                got=f"looked in {', '.join(folders)}",
                allowed=" or ".join(names),
                fix="put the official files beside the videos, or give their folder as metadata",
            )
        )
    return found


def malformed(uri: str, number: int, line: str, allowed: str) -> UserError:
    """The error for line `number` of an official file that does not read as `allowed`."""
    return UserError(
        problem(
            f"Line {number} of {uri} could not be used",
            got=line,
            allowed=allowed,
            fix="mend the line or download the file again",
        )
    )


def checked_listing(name: str, root: str, classes: Sequence[str], records: Sequence[VideoRecord]) -> Listing:
    """Build the listing after the checks that hold for every data set.

    Raises:
        UserError: no class, no video, a class named twice, an id listed twice, or a label outside the classes.
    """
    if not classes or not records:
        raise UserError(
            problem(
                f"The official files of {name} list nothing",
                got=f"{len(classes)} classes, {len(records)} videos",
                allowed="at least one of each",
                fix="check that the files are complete",
            )
        )
    _refuse_twice(f"A class of {name} is named twice", classes)
    _refuse_twice(f"A video of {name} is listed twice", [record.id for record in records])
    for record in records:
        if record.label != HIDDEN_LABEL and not 0 <= record.label < len(classes):
            raise UserError(
                problem(
                    f"The label of video {record.id} of {name} is out of range",
                    got=record.label,
                    allowed=f"0 to {len(classes) - 1}",
                    fix="use the class list that belongs to these lists",
                )
            )
    return Listing(name=name, root=root, classes=tuple(classes), records=tuple(records))


def _refuse_twice(what: str, values: Sequence[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise UserError(problem(what, got=value, allowed="every one once", fix="remove the second entry"))
        seen.add(value)
