"""One source video into stored frames: decode, check, resize, compress. Runs in the guard's child process.

A source is a video file, or a folder of numbered pictures (Something-Something V1: 00001.jpg, 00002.jpg, ...).
"""

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import pyarrow.fs as pafs

from pipeline.core import storage
from pipeline.data.store.shards import Codec, encode_frame
from pipeline.data.video import decode
from pipeline.data.video.decode import DecodeError, Frame

FRAMES = "frames"
"""The decoder of a frame folder, as the catalog names it."""
_NUMBERED = re.compile(r"\D*(\d+)\.(jpg|jpeg|png)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """How a source video becomes stored frames."""

    codec: Codec = field(default_factory=Codec)
    short_side: int = 256
    """Larger videos are reduced to this short side, pixels; smaller ones keep their size."""
    min_frames: int = 2
    """Videos with fewer are quarantined."""
    folder_fps: float = 12.0
    """Of frame folders, which do not say; Something-Something's rate."""
    compare: bool = True
    """Decode with both decoders and require equal pixels."""


@dataclass(frozen=True)
class Ingested:
    """A source video as it goes into a shard, or the reason why it does not."""

    reason: str = ""
    """Empty for a readable video, otherwise one of `decode.REASONS`."""
    detail: str = ""
    note: str = ""
    """Remarkable but harmless, such as a disagreement of the decoders that PyAV won."""
    source_bytes: int = 0
    sha256: str = ""
    """Of the source's content; of a frame folder, over names and contents."""
    decoder: str = ""
    fps: float = 0.0
    source_height: int = 0
    source_width: int = 0
    height: int = 0
    width: int = 0
    jpeg_V: tuple[bytes, ...] = ()


def ingest(uri: str, config: IngestConfig) -> Ingested:
    """Read one source; every fault of the source is a value, never an exception."""
    result = Ingested()
    try:
        kind = storage.info(uri).type
        if kind == pafs.FileType.NotFound:
            raise DecodeError(decode.MISSING, "there is no such file or folder")
        pictures = _folder_pictures(uri) if kind == pafs.FileType.Directory else []
        media = decode.fetch(uri) if kind != pafs.FileType.Directory else b""
        result = _fingerprint(media, pictures)
        if kind == pafs.FileType.Directory:
            return _compress_folder(result, pictures, config)
        return _compress_file(result, media, config)
    except DecodeError as error:
        return replace(result, reason=error.reason, detail=error.detail)
    except OSError as error:
        return replace(result, reason=decode.UNREADABLE, detail=f"{type(error).__name__}: {error.strerror or error}")
    except Exception as error:  # a decoder met what it did not expect; one odd video must not stop 200,000 others
        return replace(result, reason=decode.DECODE_ERROR, detail=f"{type(error).__name__}: {str(error)[:200]}")


def fingerprint(uri: str) -> str:
    """Return the SHA-256 that `ingest` would report for a source; empty when it is gone or cannot be read."""
    try:
        kind = storage.info(uri).type
        if kind == pafs.FileType.Directory:
            return _fingerprint(b"", _folder_pictures(uri)).sha256
        return _fingerprint(decode.fetch(uri), []).sha256
    except OSError:
        return ""


def _fingerprint(media: decode.Media, pictures: list[tuple[str, bytes]]) -> Ingested:
    if pictures:
        digest = hashlib.sha256()
        for name, data in pictures:
            digest.update(f"{name} {len(data)}\n".encode() + data)
        return Ingested(source_bytes=sum(len(data) for _, data in pictures), sha256=digest.hexdigest())
    with decode.open_media(media) as file:
        sha256 = storage.sha256_of(file)
        return Ingested(source_bytes=file.tell(), sha256=sha256)


def _compress_file(result: Ingested, media: decode.Media, config: IngestConfig) -> Ingested:
    facts = decode.probe(media)
    reading = decode.read_frames(media, facts, lambda frames: _compress(frames, config), compare=config.compare)
    return _finish(replace(result, decoder=reading.decoder, fps=facts.fps, note=reading.note, **reading.value), config)


def _compress_folder(result: Ingested, pictures: list[tuple[str, bytes]], config: IngestConfig) -> Ingested:
    if not pictures:
        raise DecodeError(decode.EMPTY, "the folder holds no numbered .jpg or .png")
    numbers = [_number(name) for name, _ in pictures]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        gap = next(n for n, (here, there) in enumerate(itertools.pairwise(numbers)) if there != here + 1)
        raise DecodeError(decode.TRUNCATED, f"no frame follows {pictures[gap][0]}, but {pictures[gap + 1][0]} is there")
    done = _compress((_picture(name, data) for name, data in pictures), config)
    return _finish(replace(result, decoder=FRAMES, fps=config.folder_fps, **done), config)


def _finish(result: Ingested, config: IngestConfig) -> Ingested:
    """Check the number of frames; a video that fails keeps its facts and loses its frames."""
    count, needed = len(result.jpeg_V), max(2, config.min_frames)
    if count >= needed:
        return result
    reason = {0: decode.DECODE_ERROR, 1: decode.ONE_FRAME}.get(count, decode.TOO_FEW_FRAMES)
    return replace(result, reason=reason, detail=f"{count} frames, {needed} are needed", jpeg_V=())


def _compress(frames: Iterator[Frame], config: IngestConfig) -> dict[str, Any]:
    """Return the fields of `Ingested` that the pixels determine."""
    jpeg_V: list[bytes] = []
    source, stored = (0, 0), (0, 0)
    for frame_HWC in frames:
        if jpeg_V and frame_HWC.shape[:2] != source:
            raise DecodeError(decode.DECODE_ERROR, f"the picture changes its size at frame {len(jpeg_V)}")
        source = (frame_HWC.shape[0], frame_HWC.shape[1])
        small_HWC = shrink(frame_HWC, config.short_side)
        stored = (small_HWC.shape[0], small_HWC.shape[1])
        jpeg_V.append(encode_frame(small_HWC, config.codec))
    names = ("source_height", "source_width", "height", "width")
    return {**dict(zip(names, (*source, *stored), strict=True)), "jpeg_V": tuple(jpeg_V)}


def shrink(frame_HWC: Frame, short_side: int) -> Frame:
    """Reduce a frame to `short_side`, averaging over areas; a smaller frame is returned as it is.

    Enlarging would store interpolated pixels and bytes for no information; the clip's own resize does it when needed.
    """
    height, width = frame_HWC.shape[:2]
    if min(height, width) <= short_side:
        return frame_HWC
    scale = short_side / min(height, width)
    size = (max(short_side, round(width * scale)), max(short_side, round(height * scale)))
    return np.asarray(cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)


def _folder_pictures(uri: str) -> list[tuple[str, bytes]]:
    """Return (name, content) of the numbered pictures of a folder, by number."""
    names = [entry.base_name for entry in storage.list_files(uri) if _NUMBERED.fullmatch(entry.base_name)]
    return [(name, storage.read_bytes(storage.join(uri, name))) for name in sorted(names, key=_number)]


def _number(name: str) -> int:
    match = _NUMBERED.fullmatch(name)
    assert match, "only numbered pictures come here"
    return int(match[1])


def _picture(name: str, data: bytes) -> Frame:
    frame_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if frame_HWC is None:
        raise DecodeError(decode.DECODE_ERROR, f"{name} is not a picture")
    return np.asarray(frame_HWC, np.uint8)
