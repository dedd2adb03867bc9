"""Exact frames of a video file: decord where it can be trusted, PyAV as reference, fallback and second opinion.

Frame i of everything here is frame i of PyAV. Why which decoder is used where: docs/decisions/0002-decoders.md.
Legend: V video frame, H height, W width, C channel (RGB).
"""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

import av
import decord
import numpy as np
import numpy.typing as npt
from decord._ffi.base import DECORDError

from pipeline.core import storage
from pipeline.data.containers import Kind, inspect

EMPTY = "empty"
"""Zero bytes, or a frame folder without frames."""
TRUNCATED = "truncated"
"""The file ends before its container says; a frame folder lacks numbers."""
NOT_A_VIDEO = "not_a_video"
"""No demuxer recognises the content."""
NO_VIDEO_STREAM = "no_video_stream"
"""Audio only, or nothing but a cover picture."""
ONE_FRAME = "one_frame"
"""Motion cannot be learned from it."""
DECODE_ERROR = "decode_error"
"""The decoder refused, crashed, or marked frames as damaged."""
MISSING = "missing"
"""Listed, but there is no such file."""
UNREADABLE = "unreadable"
"""The storage refused to hand the bytes out; says nothing about the video itself."""
TIMEOUT = "timeout"
"""The decoder did not return in time and was killed."""
TOO_FEW_FRAMES = "too_few_frames"
"""Fewer frames than the preparation asked for."""
REASONS = (
    EMPTY,
    TRUNCATED,
    NOT_A_VIDEO,
    NO_VIDEO_STREAM,
    ONE_FRAME,
    DECODE_ERROR,
    MISSING,
    UNREADABLE,
    TIMEOUT,
    TOO_FEW_FRAMES,
)

DECORD, PYAV = "decord", "pyav"
CHUNK = 16
"""Frames that decord hands over at a time, so that a long video never lies in memory whole."""

Frame = npt.NDArray[np.uint8]
Media = str | bytes
"""A local path, or the content itself."""
T = TypeVar("T")


class DecodeError(Exception):
    """A video that cannot be used; `reason` is one of REASONS, `detail` says what was seen."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True)
class DecodedVideo:
    """Frames of one video and what is known about it."""

    frames_VHWC: npt.NDArray[np.uint8]
    """The frames asked for, RGB, upright."""
    fps: float
    height: int
    width: int
    decoder: str
    """decord or pyav."""


@dataclass(frozen=True)
class Probe:
    """What a file says about its video before a frame is decoded."""

    kind: Kind
    fps: float
    """Frames a second, the average over the file; 0 where neither the container nor the packets say."""
    packets: int
    """Encoded frames that are really in the file."""
    declared_frames: int
    """From the header of an AVI; 0 elsewhere, since edit lists make the number of an mp4 ambiguous."""
    declared_s: float
    """Length of the video stream; 0 where the container does not say."""
    bits: int
    """Of a colour component."""


def fetch(uri: str) -> Media:
    """Return what the decoders read: the path of a local file, the bytes of a remote one."""
    return storage.local_path(uri) if storage.is_local(uri) else storage.read_bytes(uri)


def open_media(media: Media) -> IO[bytes]:
    """Open a path or content as a binary file."""
    return open(media, "rb") if isinstance(media, str) else io.BytesIO(media)


def decode_video(source: str | bytes, frames: Sequence[int] | None = None) -> DecodedVideo:
    """Decode a video file: all of it, its length checked, or some frames of it.

    Args:
        source: a path or URI of a file, or its content.
        frames: indices in any order, repetitions allowed; None is every frame.

    Raises:
        DecodeError: the file is missing or faulty; `reason` says how.
        IndexError: an index outside the video.
    """
    if isinstance(source, str) and not storage.exists(source):
        raise DecodeError(MISSING, "there is no such file")
    media = fetch(source) if isinstance(source, str) else source
    facts = probe(media)
    reading = read_frames(media, facts, list) if frames is None else _read_some(media, facts, sorted(set(frames)))
    if not reading.value:
        raise (
            DecodeError(DECODE_ERROR, "no frame came out of it") if frames is None else IndexError("no frame asked for")
        )
    order = range(len(reading.value)) if frames is None else np.searchsorted(sorted(set(frames)), frames)
    frames_VHWC = np.stack([reading.value[i] for i in order])
    _, height, width, _ = frames_VHWC.shape
    return DecodedVideo(frames_VHWC, facts.fps, height, width, reading.decoder)


def probe(media: Media) -> Probe:
    """Read the container: its length against its own declaration, its video stream, its packets. Decodes nothing.

    Raises:
        DecodeError: empty, truncated, not_a_video, no_video_stream, or decode_error (known container, unreadable).
    """
    with open_media(media) as file:
        if not file.read(1):
            raise DecodeError(EMPTY, "the file has no bytes")
        container = inspect(file)
    if container.missing:
        raise DecodeError(TRUNCATED, f"the file lacks {container.missing}")
    try:
        with open_media(media) as file, av.open(file, metadata_errors="ignore") as opened:
            stream = _video_stream(opened)
            packets = sum(1 for packet in opened.demux(stream) if packet.size and not packet.is_discard)
            return _probe_of(opened, stream, container.kind, packets)
    except av.FFmpegError as error:
        reason = NOT_A_VIDEO if container.kind == "other" else DECODE_ERROR
        raise DecodeError(reason, f"it cannot be opened: {error.strerror}") from error


def _video_stream(opened: Any) -> Any:
    """Return the first real video stream; a cover picture is none."""
    for stream in opened.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            stream.thread_count = 1
            return stream
    kinds = sorted({stream.type for stream in opened.streams})
    if "audio" in kinds or "video" in kinds:
        raise DecodeError(NO_VIDEO_STREAM, f"its streams are {', '.join(kinds)}")
    raise DecodeError(NOT_A_VIDEO, f"it has no audio or video stream ({', '.join(kinds) or 'no stream at all'})")


def _probe_of(opened: Any, stream: Any, kind: Kind, packets: int) -> Probe:
    declared_s = 0.0
    if stream.duration and stream.time_base:
        declared_s = float(stream.duration * stream.time_base)
    elif "DURATION" in stream.metadata:
        declared_s = _clock_s(stream.metadata["DURATION"])
    elif opened.duration and len(opened.streams) == 1:
        # With several streams this is the longest one's length, and sound may outlast the picture.
        declared_s = opened.duration / av.time_base
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    fps = float(rate) if rate else (packets / declared_s if declared_s else 0.0)
    components = stream.codec_context.format.components if stream.codec_context.format else ()
    bits = max((component.bits for component in components), default=8)
    return Probe(kind, fps, packets, stream.frames if kind == "avi" else 0, declared_s, bits)


def _clock_s(text: str) -> float:
    """Return Matroska's "HH:MM:SS.fraction" in seconds, 0 for anything else."""
    try:
        hours, minutes, seconds = text.strip("\0 ").split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return 0.0


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What a use of the frames gave, which decoder they came from, and why not from the first choice."""

    value: T
    decoder: str
    note: str = ""


def read_frames(
    media: Media, facts: Probe, use: Callable[[Iterator[Frame]], T], *, compare: bool = False
) -> Reading[T]:
    """Hand every frame in order to `use`, from decord if it can be trusted with the file, otherwise from PyAV.

    Args:
        media: what `fetch` returned.
        facts: what `probe` returned for it.
        use: called with an iterator of RGB frames; called again from the start if decord fails on the way.
        compare: decode with both and require equal pixels; PyAV wins a disagreement, and the note says where it began.

    Raises:
        DecodeError: the file is faulty, in the eyes of PyAV.
    """
    note = ""
    if _decord_is_exact(facts):
        try:
            frames = decord_frames(media, facts)
            return Reading(use(_agreeing(frames, pyav_frames(media, facts)) if compare else frames), DECORD)
        except _DecordError as fault:
            note = str(fault)
    return Reading(use(pyav_frames(media, facts)), PYAV, note)


def _read_some(media: Media, facts: Probe, indices: list[int]) -> Reading[list[Frame]]:
    """Return the frames at sorted distinct `indices`."""
    if indices and not 0 <= indices[0] <= indices[-1] < facts.packets:
        raise IndexError(f"frames {indices[0]} to {indices[-1]} of a video of {facts.packets}")
    note = ""
    if _decord_is_exact(facts):
        try:
            return Reading(list(decord_frames(media, facts, indices)), DECORD)
        except _DecordError as fault:
            note = str(fault)
    wanted = set(indices)
    frames = itertools.islice(pyav_frames(media, facts), max(indices, default=-1) + 1)
    found = [frame_HWC for index, frame_HWC in enumerate(frames) if index in wanted]
    if len(found) < len(indices):
        raise IndexError(f"frame {indices[len(found)]} of a video whose decoder gives fewer")
    return Reading(found, PYAV, note)


def _decord_is_exact(facts: Probe) -> bool:
    """False for AVI (no timestamps: decord's are off by one with B-frames, at random) and for more than 8 bits."""
    return facts.kind != "avi" and facts.bits == 8


class _DecordError(Exception):
    """Decord failed or disagreed where PyAV may succeed."""


def decord_frames(media: Media, facts: Probe, indices: Sequence[int] | None = None) -> Iterator[Frame]:
    """Yield the upright RGB frames at sorted distinct `indices` (None: all) from decord, opened and closed here."""
    try:
        with open_media(media) as file:
            # Other thread counts than 1 and 2 fail on VP9. Any frame that decord would patch over with its neighbour
            # (its fault tolerance, unlimited by default) is a fault.
            reader = decord.VideoReader(media if isinstance(media, str) else file, num_threads=1, fault_tol=1e-9)
        if len(reader) != facts.packets:
            raise _DecordError(f"decord counts {len(reader)} frames, PyAV {facts.packets}")
        chosen = range(len(reader)) if indices is None else indices
        for chunk in _chunks(chosen):
            if chunk == [len(reader) - 1] and len(reader) > 1:
                yield reader.get_batch([len(reader) - 2, *chunk]).asnumpy()[1]  # never a lone last frame
            else:
                yield from reader.get_batch(chunk).asnumpy()
    except (DECORDError, RuntimeError, AssertionError) as error:
        raise _DecordError(f"decord failed ({type(error).__name__})") from error


def _chunks(indices: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(indices), CHUNK):
        yield list(indices[start : start + CHUNK])


def pyav_frames(media: Media, facts: Probe) -> Iterator[Frame]:
    """Yield every upright RGB frame from PyAV and, after the last, check the length against the container's word.

    Raises:
        DecodeError: decode_error, or truncated when frames that the container declares do not come.
    """
    count, first_s, last_s, size = 0, None, 0.0, (0, 0)
    try:
        with open_media(media) as file, av.open(file, metadata_errors="ignore") as opened:
            for frame in opened.decode(_video_stream(opened)):
                if frame.is_corrupt:
                    raise DecodeError(DECODE_ERROR, f"the decoder marks frame {count} as damaged")
                if count and (frame.height, frame.width) != size:
                    raise DecodeError(DECODE_ERROR, f"the picture changes its size at frame {count}")
                size = (frame.height, frame.width)
                last_s = frame.time if frame.time is not None else last_s
                first_s = last_s if first_s is None else first_s
                count += 1
                yield _upright(frame)
    except av.FFmpegError as error:
        raise DecodeError(DECODE_ERROR, f"PyAV failed at frame {count}: {error.strerror}") from error
    _check_length(facts, count, last_s - (first_s or 0.0))


def _upright(frame: Any) -> Frame:
    """Return RGB pixels turned by the rotation tag; PyAV reports it, in degrees counterclockwise, and leaves it."""
    frame_HWC: Frame = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(frame_HWC, frame.rotation // 90)) if frame.rotation % 90 == 0 else frame_HWC


def _check_length(facts: Probe, count: int, span_s: float) -> None:
    """Raise DecodeError when clearly fewer frames came than the container declares.

    Tolerance: three frames or 5 %, whichever is more. Codecs merge and drop a frame at either end in sound files, and
    the last frame's length is rarely stored. What is cut off below that, `containers.inspect` sees by the byte.
    """
    if count < facts.declared_frames - max(3.0, 0.05 * facts.declared_frames):
        raise DecodeError(TRUNCATED, f"{count} of the {facts.declared_frames} frames that the header declares")
    if facts.declared_s and facts.fps and count:
        lacking_s = facts.declared_s - (span_s + 1 / facts.fps)
        if lacking_s > max(3 / facts.fps, 0.05 * facts.declared_s):
            raise DecodeError(
                TRUNCATED, f"its frames end {lacking_s:.2f} s before the {facts.declared_s:.2f} s declared"
            )


def _agreeing(frames: Iterator[Frame], reference: Iterator[Frame]) -> Iterator[Frame]:
    """Yield decord's `frames` as long as each equals PyAV's, pixel for pixel."""
    for index, (ours_HWC, theirs_HWC) in enumerate(itertools.zip_longest(frames, reference)):
        if ours_HWC is None or theirs_HWC is None or not np.array_equal(ours_HWC, theirs_HWC):
            raise _DecordError(f"decord and PyAV differ from frame {index} on")
        yield ours_HWC
