"""Broken files of eight kinds, planted in place of training videos, each with the reason that a decoder must give.

A real video under a wrong suffix is no fault (decoders look at the content); "wrong extension" is a file of another
type under a video's name. Reasons are those of the preparation's quarantine.
"""

import csv
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.core.errors import UserError, problem
from pipeline.data.synth.encode import write_video
from pipeline.data.synth.layouts import Layout, Planned

FAULT_LIST = "faults.csv"


@dataclass(frozen=True)
class Fault:
    """A planted fault."""

    video: Planned
    kind: str
    """Key of KINDS."""


def choose_faults(planned: Sequence[Planned], layout: Layout, each: int) -> list[Fault]:
    """Choose `each` training videos for every kind of fault, evenly spread over the data set.

    Raises:
        UserError: the layout has frame folders, or there are too few training videos.
    """
    candidates = [video for video in planned if video.split[0] == "train"]
    wanted = each * len(KINDS)
    if each < 0 or (each and (layout == "ssv1" or wanted >= len(candidates))):
        raise UserError(
            problem(
                "Faults cannot be planted",
                got=f"{each} of each of {len(KINDS)} kinds into {len(candidates)} training videos of layout {layout}",
                allowed="a layout of video files, with more training videos than faults",
                fix="choose another layout, fewer faults or a larger size",
            )
        )
    kinds = list(KINDS) * each
    return [Fault(candidates[k * len(candidates) // max(wanted, 1)], kind) for k, kind in enumerate(kinds)]


def plant_fault(out: Path, fault: Fault, seed: int) -> None:
    """Break the video that has been made for `fault`; the same seed breaks it in the same way."""
    path = out / fault.video.path
    _, plant = KINDS[fault.kind]
    plant(path, np.random.default_rng((seed, fault.video.number, 2)))


def write_fault_list(out: Path, faults: Sequence[Fault]) -> None:
    """Write the list of planted faults: id, path, kind, expected reason."""
    with (out / FAULT_LIST).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "path", "kind", "expected"])
        for fault in faults:
            writer.writerow([fault.video.id, fault.video.path, fault.kind, KINDS[fault.kind][0]])


def _empty(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(b"")


def _truncated(path: Path, rng: np.random.Generator) -> None:
    """A download that broke off."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * rng.uniform(0.5, 0.8))])


def _text(path: Path, rng: np.random.Generator) -> None:
    """What a server answers instead of a video."""
    path.write_text("<html><body><h1>404 Not Found</h1></body></html>\n" * 20)


def _audio_only(path: Path, rng: np.random.Generator) -> None:
    codec = {".webm": "libopus", ".mp4": "aac", ".avi": "pcm_s16le"}[path.suffix]
    rate = 48_000
    with av.open(str(path), "w", format=path.suffix[1:], container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        frame = av.AudioFrame.from_ndarray(np.zeros((1, rate), np.int16), format="s16", layout="mono")
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)


def _one_frame(path: Path, rng: np.random.Generator) -> None:
    write_video(path, [rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)], fps=12)


def _wrong_extension(path: Path, rng: np.random.Generator) -> None:
    """A zip archive that somebody renamed."""
    entry = zipfile.ZipInfo("frames.bin", date_time=(2020, 1, 1, 0, 0, 0))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, rng.bytes(4000))


def _no_frames(path: Path, rng: np.random.Generator) -> None:
    """The container's header and nothing after it: a recording that never began."""
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(_FIRST_DATA[path.suffix])])


def _flipped_bytes(path: Path, rng: np.random.Generator) -> None:
    """Noise in place of the packets in the middle of the video; the container around them stays whole."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        broken = path.with_name(f"broken-{path.name}")
        options = {"fflags": "+bitexact"}
        with av.open(str(broken), "w", format=path.suffix[1:], container_options=options) as copy:
            target = copy.add_stream_from_template(stream)
            for number, packet in enumerate(packets):
                if len(packets) // 3 <= number < len(packets) - len(packets) // 3:
                    noise = av.Packet(rng.bytes(packet.size))
                    noise.pts, noise.dts, noise.duration = packet.pts, packet.dts, packet.duration
                    noise.time_base, noise.is_keyframe = packet.time_base, packet.is_keyframe
                    packet = noise
                packet.stream = target
                copy.mux(packet)
    broken.replace(path)


_FIRST_DATA = {".webm": b"\x1f\x43\xb6\x75", ".avi": b"movi", ".mp4": b"mdat"}
"""What the media data begin with: Matroska's cluster, AVI's list of chunks, MP4's box."""

KINDS: dict[str, tuple[str, Callable[[Path, np.random.Generator], None]]] = {
    "empty": ("empty", _empty),
    "truncated": ("truncated", _truncated),
    "text": ("not_a_video", _text),
    "audio_only": ("no_video_stream", _audio_only),
    "one_frame": ("one_frame", _one_frame),
    "wrong_extension": ("not_a_video", _wrong_extension),
    "no_frames": ("truncated", _no_frames),
    "flipped_bytes": ("decode_error", _flipped_bytes),
}
"""Kind to the reason expected in the quarantine, and the function that breaks the file."""
