"""Small real video files, and the real clips beside the checkout."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.data.synth.encode import write_video

CLIPS = Path(__file__).parents[2].parent / "shared" / "clips"


@pytest.fixture(scope="session")
def clips():
    """Folder of real clips; tests that need it are skipped without it."""
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not at {CLIPS}")
    return CLIPS


def moving_pattern(frames, height=48, width=64, seed=0):
    """RGB frames of a pattern that moves, so that neighbours differ and each frame is unlike any other."""
    rng = np.random.default_rng(seed)
    tile_HWC = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    tile_HWC = tile_HWC.repeat(8, 0).repeat(8, 1)[:height, :width]
    return [np.roll(tile_HWC, 3 * t, axis=1) for t in range(frames)]


@pytest.fixture(scope="session", name="moving_pattern")
def moving_pattern_fixture():
    return moving_pattern


@pytest.fixture(scope="session")
def make_video():
    """Encode a moving pattern into the container that the path's suffix says."""

    def build(path, frames=12, height=48, width=64, seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, moving_pattern(frames, height, width, seed), fps=12)
        return path

    return build


@pytest.fixture(scope="session")
def oracle():
    """Every frame of a file by the plainest PyAV loop there is."""

    def decode(path):
        with av.open(str(path)) as container:
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])

    return decode
