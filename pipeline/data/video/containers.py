"""What a video file says about itself before any decoder runs: its kind, and whether it is as long as it declares.

Decoders end early and silently on a truncated AVI or WebM; the sizes in the container give it away.
"""

import io
import struct
from dataclasses import dataclass
from typing import IO, Literal

Kind = Literal["avi", "mp4", "matroska", "other"]

_UNKNOWN_SIZE = -1
_OPEN_RIFF = 0xFFFFFFFF
_BOXES = frozenset(
    b"ftyp moov mdat free skip wide uuid moof mfra sidx styp ssix meta pdin prft emsg pnot udta PICT".split()
)
"""Names that a box at the top level of ISO media can have."""
_SEGMENT = 0x18538067
_CLUSTER = 0x1F43B675


@dataclass(frozen=True)
class Container:
    """The outcome of `inspect`."""

    kind: Kind
    missing: str = ""
    """What the container declares and the file ends before; empty when nothing is known to be missing."""
    sized: bool = False
    """The container declares its size, so that an empty `missing` means a whole file."""


def inspect(file: IO[bytes]) -> Container:
    """Look at the outer structure of a seekable file; a few reads, no matter how long the file is.

    RIFF/AVI: the declared sizes of the RIFF chunks. ISO media (mp4, mov): top-level boxes and the presence of `moov`.
    Matroska/WebM (EBML): the segment's size, or the clusters' where a live writer left the segment's unknown.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Container("avi", _riff_missing(file, size), sized=True)
    if head[:4] == b"\x1aE\xdf\xa3":
        missing = _ebml_missing(file, size)
        return Container("matroska", missing or "", sized=missing is not None)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return Container("mp4", _boxes_missing(file, size), sized=True)
    return Container("other")


def _riff_missing(file: IO[bytes], size: int) -> str:
    """An OpenDML file is a row of RIFF chunks; the file must not end before the last one does."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF" or length == _OPEN_RIFF:
            return ""  # bytes that another program appended, or a writer that could not seek back
        position += 8 + length + length % 2
    # Some writers leave the last pad byte out.
    return "" if position <= size + 1 else f"{position - size} of the {position} bytes that the RIFF header declares"


def _boxes_missing(file: IO[bytes], size: int) -> str:
    position, names = 0, set()
    while position + 8 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        elif length == 0:
            length = size - position  # the last box may leave its length open
        if length < 8 or name not in _BOXES:
            break  # not a box: something that was appended, or no mp4 at all; the decoder decides
        names.add(name)
        position += length
    if position > size:
        return f"{position - size} bytes of the last box"
    return "" if b"moov" in names else "the index (moov box)"


def _ebml_missing(file: IO[bytes], size: int) -> str | None:
    """Return what the segment lacks, or None where it leaves its size open."""
    position = 0
    while position < size:
        file.seek(position)
        name, length, start = _element(file)
        if name == _SEGMENT and length == _UNKNOWN_SIZE:
            return _clusters_missing(file, size, start)
        if length == _UNKNOWN_SIZE:
            return None
        position = start + length
        if name == _SEGMENT:
            break  # what follows was appended
    return "" if position <= size else f"{position - size} of the {position} bytes that the segment declares"


def _clusters_missing(file: IO[bytes], size: int, position: int) -> str | None:
    while position < size:
        file.seek(position)
        name, length, start = _element(file)
        if length == _UNKNOWN_SIZE:
            break  # a live stream: only its timestamps can tell
        position = start + length
        if position > size and name == _CLUSTER:
            return f"{position - size} bytes of the last cluster"
    return None


def _element(file: IO[bytes]) -> tuple[int, int, int]:
    """Read an EBML element's head: identifier, length of its body (or _UNKNOWN_SIZE), start of its body."""
    name = _vint(file, keep_marker=True)
    return name, _vint(file, keep_marker=False), file.tell()


def _vint(file: IO[bytes], *, keep_marker: bool) -> int:
    """Read EBML's variable-size integer: the leading zero bits of the first byte count the bytes that follow it."""
    first = file.read(1)
    if not first or first == b"\x00":
        return _UNKNOWN_SIZE
    more = 8 - first[0].bit_length()
    marker = 1 << (7 - more)
    raw = first + file.read(more)
    if keep_marker:
        return int.from_bytes(raw, "big")
    value = int.from_bytes(bytes([raw[0] & ~marker]) + raw[1:], "big")
    return _UNKNOWN_SIZE if value == (1 << (7 * (more + 1))) - 1 else value
