"""Exact frames of a video file: decord where it can be trusted, PyAV as reference, fallback and second opinion.

Frame i of everything here is frame i of PyAV. Why which decoder is used where: docs/decisions/0002-decoders.md.
Legend: V video frame, H height, W width, C channel (RGB).
"""

import functools
import io
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

import av
import decord
import numpy as np
import numpy.typing as npt
from decord._ffi.base import DECORDError, DECORDLimitReachedError

from pipeline.core import storage
from pipeline.data.video.containers import Container, Kind, inspect

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
    whole: bool
    """The file is as long as its container declares; False also where that is unknown."""


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
    wanted = range(facts.packets) if frames is None else sorted(set(frames))
    if frames is not None and not (wanted and 0 <= wanted[0] <= wanted[-1] < facts.packets):
        raise IndexError(f"frames {list(frames)} of a video of {facts.packets}")
    pick = list if frames is None else functools.partial(_pick, wanted)
    reading: Reading[list[Frame]] = read_frames(media, facts, pick)
    if frames is not None and len(reading.value) < len(wanted):
        raise IndexError(f"frame {wanted[len(reading.value)]} of a video whose packets give fewer frames")
    if not reading.value:
        raise DecodeError(DECODE_ERROR, "no frame came out of it")
    order = range(len(reading.value)) if frames is None else [wanted.index(index) for index in frames]
    frames_VHWC = np.stack([reading.value[place] for place in order])
    _, height, width, _ = frames_VHWC.shape
    return DecodedVideo(frames_VHWC, facts.fps, height, width, reading.decoder)


def _pick(wanted: Sequence[int], frames: Iterator[Frame]) -> list[Frame]:
    """Keep the frames at sorted indices and stop after the last; seeking would be faster and, in decord, inexact."""
    chosen = set(wanted)
    return [frame_HWC for index, frame_HWC in enumerate(itertools.islice(frames, wanted[-1] + 1)) if index in chosen]


def probe(media: Media) -> Probe:
    """Read the container: its length against its own declaration, its video stream, its packets. Decodes nothing.

    Raises:
        DecodeError: empty, truncated, not_a_video, no_video_stream, or decode_error (a known container that cannot be
            opened, or that is whole and yet lacks frames).
    """
    with open_media(media) as file:
        if not file.read(1):
            raise DecodeError(EMPTY, "the file has no bytes")
        container = inspect(file)
    if container.missing:
        raise DecodeError(TRUNCATED, f"the file lacks {container.missing}")
    unknown = NOT_A_VIDEO if container.kind == "other" else DECODE_ERROR
    try:
        with open_media(media) as file, av.open(file, metadata_errors="ignore") as opened:
            if not opened.streams:
                raise DecodeError(unknown, "it has no stream at all")
            stream = _video_stream(opened)
            packets, span_s = _count_packets(opened, stream)
            facts = _probe_of(opened, stream, container, packets)
    except av.FFmpegError as error:
        raise DecodeError(unknown, f"it cannot be opened: {error.strerror}") from error
    _check_length(facts, packets, span_s)
    return facts


def _video_stream(opened: Any) -> Any:
    """Return the first real video stream; a cover picture is none."""
    for stream in opened.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            stream.thread_count = 1
            return stream
    kinds = sorted({stream.type for stream in opened.streams})
    raise DecodeError(NO_VIDEO_STREAM, f"its streams: {', '.join(kinds) or 'none'}")


def _count_packets(opened: Any, stream: Any) -> tuple[int, float]:
    """Return how many encoded frames are in the file, and the seconds that they span."""
    count, first_s, end_s = 0, math.inf, 0.0
    for packet in opened.demux(stream):
        if packet.size and not packet.is_discard:
            count += 1
            stamp = packet.dts if packet.pts is None else packet.pts
            if stamp is not None:
                first_s = min(first_s, float(stamp * packet.time_base))
                end_s = max(end_s, float((stamp + (packet.duration or 0)) * packet.time_base))
    return count, max(0.0, end_s - first_s)


def _probe_of(opened: Any, stream: Any, container: Container, packets: int) -> Probe:
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
    declared_frames = stream.frames if container.kind == "avi" else 0
    return Probe(container.kind, fps, packets, declared_frames, declared_s, bits, container.sized)


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


def _decord_is_exact(facts: Probe) -> bool:
    """False for AVI (no timestamps: decord's are off by one with B-frames, at random) and for more than 8 bits."""
    return facts.kind != "avi" and facts.bits == 8


class _DecordError(Exception):
    """Decord failed or disagreed where PyAV may succeed."""


def decord_frames(media: Media, facts: Probe) -> Iterator[Frame]:
    """Yield every upright RGB frame from decord, first to last: its seeks miss in some H.265 and open-GOP files."""
    try:
        with open_media(media) as file:
            # Other thread counts than 1 and 2 fail on VP9. Any frame that decord would patch over with its neighbour
            # (its fault tolerance, unlimited by default) is a fault.
            reader = decord.VideoReader(media if isinstance(media, str) else file, num_threads=1, fault_tol=1e-9)
        count = len(reader)
        if count != facts.packets:
            raise _DecordError(f"decord counts {count} frames, PyAV {facts.packets}")
        for start in range(0, count, CHUNK):
            if start == count - 1 and start > 0:
                yield reader.get_batch([start - 1, start]).asnumpy()[1]  # a lone last frame is the wrong one at times
            else:
                yield from reader.get_batch(range(start, min(start + CHUNK, count))).asnumpy()
    except (DECORDError, DECORDLimitReachedError, RuntimeError, AssertionError) as error:
        raise _DecordError(f"decord failed ({type(error).__name__})") from error


def pyav_frames(media: Media, facts: Probe) -> Iterator[Frame]:
    """Yield every upright RGB frame from PyAV and, after the last, check the length against the container's word.

    Raises:
        DecodeError: decode_error; truncated when the file may end early and frames that it declares do not come.
    """
    count, first_s, end_s = 0, 0.0, 0.0
    try:
        with open_media(media) as file, av.open(file, metadata_errors="ignore") as opened:
            for frame in opened.decode(_video_stream(opened)):
                if frame.is_corrupt:
                    raise DecodeError(DECODE_ERROR, f"the decoder marks frame {count} as damaged")
                shown_s = end_s if frame.time is None else frame.time
                first_s = first_s if count else shown_s
                end_s = shown_s + _length_s(frame, facts)
                count += 1
                yield _upright(frame)
    except av.FFmpegError as error:
        raise DecodeError(DECODE_ERROR, f"PyAV failed at frame {count}: {error.strerror}") from error
    _check_length(facts, count, end_s - first_s)


def _length_s(frame: Any, facts: Probe) -> float:
    """Return how long a frame is shown; the average where it does not say."""
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return 1 / facts.fps if facts.fps else 0.0


def _upright(frame: Any) -> Frame:
    """Return RGB pixels turned by the rotation tag; PyAV reports it, in degrees counterclockwise, and leaves it."""
    frame_HWC: Frame = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(frame_HWC, frame.rotation // 90)) if frame.rotation % 90 == 0 else frame_HWC


def _check_length(facts: Probe, count: int, span_s: float) -> None:
    """Raise DecodeError when fewer frames came than the container declares.

    Two frames or 2 %, whichever is more, may be missing: encoders merge and drop frames at the ends of sound files. A
    file that is whole by its sizes has lost its frames to damage inside, any other has probably lost its end.
    """
    reason = DECODE_ERROR if facts.whole else TRUNCATED
    if count < facts.declared_frames - max(2.0, 0.02 * facts.declared_frames):
        raise DecodeError(reason, f"{count} of the {facts.declared_frames} frames that the header declares")
    if facts.declared_s and facts.fps:
        lacking_s = facts.declared_s - span_s
        # A millisecond more, since Matroska rounds its times to one.
        if lacking_s > max(2 / facts.fps, 0.02 * facts.declared_s) + 1e-3:
            raise DecodeError(reason, f"its frames end {lacking_s:.2f} s before the {facts.declared_s:.2f} s declared")


def _agreeing(frames: Iterator[Frame], reference: Iterator[Frame]) -> Iterator[Frame]:
    """Yield decord's `frames` as long as each equals PyAV's, pixel for pixel."""
    for index, (ours_HWC, theirs_HWC) in enumerate(itertools.zip_longest(frames, reference)):
        if ours_HWC is None or theirs_HWC is None or not np.array_equal(ours_HWC, theirs_HWC):
            raise _DecordError(f"decord and PyAV differ from frame {index} on")
        yield ours_HWC
