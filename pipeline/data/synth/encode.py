"""Frames to real video files with PyAV: the same frames give the same bytes, on one machine, in every process."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "webm": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "24", "b": "0"}),
    "avi": ("mpeg4", {"qmin": "3", "qmax": "5", "g": "12"}),
    # Constant quantiser: x264's macroblock-tree rate control gave other bytes in 1 of 4 runs.
    "mp4": ("libx264", {"preset": "veryfast", "qp": "20"}),
}
"""Container to codec: those of Something-Something V2, UCF-101 and HMDB-51, and of everybody's phone."""


def write_video(path: Path, frames: Iterable[Frame], fps: int) -> None:
    """Encode (H, W, 3) RGB frames into the container that the file name's suffix says (a key of CODECS)."""
    suffix = path.suffix[1:]
    codec, options = CODECS[suffix]
    # Bit-exact containers carry no random identifier, no date and no version of the writer.
    with av.open(str(path), "w", format=suffix, container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for number, frame_HWC in enumerate(frames):
            if number == 0:
                stream.height, stream.width = frame_HWC.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_frames(folder: Path, frames: Iterable[Frame]) -> None:
    """Write a frame folder as Something-Something V1 has them: 00001.jpg and on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame_HWC in enumerate(frames, start=1):
        bgr_HWC = cv2.cvtColor(frame_HWC, cv2.COLOR_RGB2BGR)
        if not cv2.imwrite(str(folder / f"{number:05d}.jpg"), bgr_HWC, [cv2.IMWRITE_JPEG_QUALITY, 92]):
            raise OSError(f"a frame could not be written to {folder}")
