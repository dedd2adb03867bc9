#!/usr/bin/env python3
"""Clips a second from original videos, from prepared shards, and out of the whole feed, and where the time goes.

    python benchmarks/feed.py [--processes N] [--rounds 5] [--seconds 4] [--markdown FILE]

It makes its own videos, prepares them as jobs/prepare_data.py does, and measures in turn, round after round, so that a
drifting clock or a neighbour hurts all alike; medians are printed, and ratios are medians of the rounds' ratios.

originals  decord seeks and decodes the frames of a clip, which are then augmented, in N plain processes
shards     the feed's own functions read, decode and augment the same clips, in N plain processes
feed       the same through Ray Data with N CPUs, to batches in one more process, as a training worker sees them

Beside clips a second stands the CPU time of a clip, over every process that had a part in it (Ray's own too): on a
machine that others use as well it says more. Two aims, this project's own, stand beside the ratios: shards at least 4
times originals (shards at short side 128, clips of 32 x 112 x 112), and the feed at least 0.8 of shards. Linux only: it
reads /proc.
"""

import argparse
import contextlib
import itertools
import multiprocessing
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import ray

from pipeline.core.storage import join
from pipeline.data.config import AugmentConfig, ClipConfig, DataConfig
from pipeline.data.feed import batches as feed
from pipeline.data.feed.augment import apply, draw
from pipeline.data.feed.clips import clip_generator
from pipeline.data.feed.plan import Plan
from pipeline.data.feed.sampling import draw_indices
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video
from pipeline.data.synth.encode import write_video

FORMATS = (("webm", 426, 240), ("avi", 320, 240), ("mp4", 340, 256))
"""Container, width, height: of Something-Something V2, of UCF-101, of HMDB-51 and re-encoded sets."""
FRAMES = 45
"""Of a video; the median of Something-Something V2."""
BATCH = 8
AUGMENT = AugmentConfig()


@dataclass(frozen=True)
class Case:
    """One size of clip and the prepared data set that suits it."""

    size: int
    short_side: int
    originals: str
    prepared: str

    @property
    def clip(self) -> ClipConfig:
        """32 consecutive frames."""
        return ClipConfig(frames=32, size=self.size, short_side=self.short_side)


def make_videos(root: Path, count: int) -> None:
    """Write `count` videos of a texture that moves and turns: like real ones, neither still nor noise throughout."""
    rng = np.random.default_rng(0)
    for number in range(count):
        suffix, width, height = FORMATS[number % len(FORMATS)]
        coarse = cv2.resize(
            rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
        )
        texture = np.clip(coarse + rng.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)
        speed = rng.uniform(-3, 3, 3)

        def frame(v: int, texture: npt.NDArray[np.uint8] = texture, speed: npt.NDArray[np.float64] = speed) -> cv2.Mat:
            turn = cv2.getRotationMatrix2D((320, 240), float(speed[0]) * v, 1.1)
            turn[:, 2] += speed[1:] * v
            return cv2.warpAffine(texture, turn, (640, 480), borderMode=cv2.BORDER_REFLECT)

        path = root / "train" / f"class{number % 4}" / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        top, left = (480 - height) // 2, (640 - width) // 2
        crops = (np.ascontiguousarray(frame(v)[top : top + height, left : left + width]) for v in range(FRAMES))
        write_video(path, crops, fps=12)


def original_clips(case: Case, rank: int) -> Iterator[int]:
    """Load training clips from the original files without end; yields 1 a clip."""
    import decord  # In this process only: where decord comes before PyAV, PyAV cannot encode VP9.

    paths = sorted(Path(case.originals).rglob("*.*"))
    for number in itertools.count(rank * len(paths) // 2):
        path = str(paths[number % len(paths)])
        reader = decord.VideoReader(path, num_threads=1)
        rng = clip_generator(0, number, path)
        idx_T, _ = draw_indices(len(reader), case.clip, rng)
        frames_THWC = reader.get_batch(idx_T).asnumpy()
        apply(frames_THWC, draw(rng, AUGMENT, *frames_THWC.shape[1:3], may_flip=True), case.clip)
        yield 1


def settings(case: Case, seed: int) -> tuple[PreparedDataset, Plan, feed.TrainingRequest]:
    """Return the arguments of the feed: a run of so many epochs that no measurement sees its end."""
    dataset = PreparedDataset.open(case.prepared)
    plan = Plan(seed=seed, samples=len(dataset.videos("train")), global_batch=BATCH, epochs=100_000)
    return dataset, plan, feed.TrainingRequest(data=DataConfig(), clip=case.clip, augment=AUGMENT)


def shard_clips(case: Case, rank: int) -> Iterator[int]:
    """Load training batches from the shards without end, in this process; yields the clips of each."""
    for batch in feed.local_train_batches(*settings(case, rank)):
        yield len(batch.ids)


def feed_clips(case: Case, cpus: int) -> Iterator[int]:
    """Receive training batches from Ray Data without end; yields the clips of each."""
    batches = feed.train_batches(*settings(case, 0), data_cpus=cpus, prefetch=4)
    try:
        for batch in batches:
            yield len(batch.ids)
    finally:
        batches.close()


@dataclass(frozen=True)
class Speed:
    """What was measured of one way to make clips."""

    clips_s: float
    """Clips a second, by the clock."""
    cpu_ms: float
    """CPU time of a clip, milliseconds."""


def own_cpu_s() -> dict[int, float]:
    """CPU seconds of this process so far."""
    return {os.getpid(): time.process_time()}


def tree_cpu_s() -> dict[int, float]:
    """CPU seconds so far of this process and of all below it, Ray's daemons and workers, by process."""
    used: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It ended meanwhile.
            fields = entry.read_text().rpartition(")")[2].split()
            pid, parent = int(entry.parent.name), int(fields[1])
            children.setdefault(parent, []).append(pid)
            used[pid] = int(fields[11]) + int(fields[12])  # user and system
    family = [os.getpid()]
    for pid in family:
        family += children.get(pid, [])
    return {pid: used.get(pid, 0) / os.sysconf("SC_CLK_TCK") for pid in family}


def speed(clips: Iterator[int], seconds: float, warm: int, cpu_s: Callable[[], dict[int, float]]) -> Speed:
    """Measure for about `seconds`, after `warm` clips."""
    while warm > 0:
        warm -= next(clips)
    count, before, start = 0, cpu_s(), time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += next(clips)
    elapsed, after = time.perf_counter() - start, cpu_s()
    # Ray ends idle workers at any time: what they used before must not be subtracted from what the others use now.
    spent = sum(used - before.get(pid, 0) for pid, used in after.items())
    return Speed(count / elapsed, 1e3 * spent / count)


def speed_in_process(load: Callable[[Case, int], Iterator[int]], case: Case, rank: int, seconds: float) -> Speed:
    """Measure in a plain process, with OpenCV on one thread as in the feed's tasks, on a core of its own.

    decord decodes in a thread beside the reader's even with `num_threads=1`; without the bond to one core the originals
    would be measured with 1.15 cores.
    """
    cv2.setNumThreads(1)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    return speed(load(case, rank), seconds, 2 * BATCH, own_cpu_s)


def stages(case: Case, clips: int) -> dict[str, float]:
    """CPU milliseconds a clip in each stage of the feed's functions, measured apart in this process."""
    cv2.setNumThreads(1)
    dataset, clock = PreparedDataset.open(case.prepared), time.process_time
    spent = dict.fromkeys(("read", "decode", "transform", "copy"), 0.0)
    batch = np.empty((BATCH, 32, case.size, case.size, 3), np.uint8)
    for number, video in zip(range(clips), itertools.cycle(dataset.videos("train"))):
        marks = [clock()]
        encoded = read_video(dataset.root, video.shard, video.row)
        rng = clip_generator(0, number, video.id)
        idx_T, _ = draw_indices(len(encoded.jpeg_V), case.clip, rng)
        marks.append(clock())
        frames_THWC = decode_frames(encoded, idx_T.tolist())
        marks.append(clock())
        x_THWC = apply(frames_THWC, draw(rng, AUGMENT, encoded.height, encoded.width, may_flip=True), case.clip)
        marks.append(clock())
        # Once into the micro-batch, and once more out of the object store; putting it there is the framework's part.
        batch[number % BATCH] = x_THWC
        batch[number % BATCH] = x_THWC
        marks.append(clock())
        for name, begin, end in zip(spent, marks, marks[1:], strict=False):
            spent[name] += end - begin
    return {name: 1e3 * value / clips for name, value in spent.items()}


def measure(case: Case, processes: int, rounds: int, seconds: float) -> list[str]:
    """Measure one case and return the lines of its report."""
    speeds: dict[str, list[Speed]] = {"originals": [], "shards": [], "feed": []}
    spent: list[dict[str, float]] = []
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for _ in range(rounds):
            for kind, load in (("originals", original_clips), ("shards", shard_clips)):
                tasks = [pool.submit(speed_in_process, load, case, rank, seconds) for rank in range(processes)]
                parts = [task.result() for task in tasks]
                clips_s = sum(part.clips_s for part in parts)
                speeds[kind].append(Speed(clips_s, sum(part.cpu_ms * part.clips_s for part in parts) / clips_s))
            spent.append(pool.submit(stages, case, 10 * BATCH).result())
            speeds["feed"].append(speed(feed_clips(case, processes), seconds, 12 * BATCH, tree_cpu_s))
    return report(case, processes, speeds, spent)


def report(case: Case, processes: int, speeds: dict[str, list[Speed]], spent: list[dict[str, float]]) -> list[str]:
    """Put medians, the ratios beside their aims and the shares of a clip's CPU time into lines."""

    def line(kind: str, base: str, aim: str) -> str:
        mine, other = speeds[kind], speeds[base]
        middle = statistics.median(s.clips_s for s in mine), statistics.median(s.cpu_ms for s in mine)
        clock = statistics.median(s.clips_s / o.clips_s for s, o in zip(mine, other, strict=True))
        cpu = statistics.median(o.cpu_ms / s.cpu_ms for s, o in zip(mine, other, strict=True))
        ratio = f"   {clock:.2f} x {base}, by CPU time {cpu:.2f} x ({aim})" if aim else ""
        return f"  {kind:10}{middle[0]:7.1f} clips/s {middle[1]:7.2f} CPU ms a clip{ratio}"

    whole = statistics.median(s.cpu_ms for s in speeds["feed"])
    shares = {name: statistics.median(s[name] for s in spent) / whole for name in spent[0]}
    shares["framework"] = 1 - sum(shares.values())
    rounds = len(spent)
    return [
        f"clips of 32 x {case.size} x {case.size}, shards at short side {case.short_side}, "
        f"{processes} process(es), medians of {rounds} rounds, load {os.getloadavg()[0]:.0f}",
        line("originals", "originals", ""),
        line("shards", "originals", "aim: 4" if case.size == 112 else "no aim at this size"),
        line("feed", "shards", "aim: 0.8"),
        "  CPU time  " + ", ".join(f"{name} {100 * value:.0f} %" for name, value in shares.items()),
        "  rounds    " + "; ".join(f"{k} " + " ".join(f"{s.clips_s:.0f}" for s in v) for k, v in speeds.items()),
    ]


def machine() -> str:
    """Describe the hardware and the date."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next((line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")), "CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"Python {platform.python_version()}, Ray {ray.__version__}, OpenCV {cv2.__version__}"
    return f"{datetime.now(UTC):%Y-%m-%d}, {cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {versions}"


def main() -> None:
    """Make videos, prepare them at both sizes, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--processes", type=int, default=max(cores - 1, 1), help="default: all cores but the consumer's"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--markdown", type=Path, help="also write the report there")
    args = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="star-feed-"))
    lines = [machine()]
    print(lines[0], flush=True)
    try:
        make_videos(home / "videos", args.videos)
        listing = load_listing("folder", str(home / "videos"))
        ray.init(address="local", num_cpus=args.processes + 1, _temp_dir=str(home / "ray"), log_to_driver=False)
        for size, short_side in ((112, 128), (224, 256)):
            root = join(str(home), f"prepared{short_side}")
            prepare(listing, root, PrepareConfig(ingest=IngestConfig(short_side=short_side)), in_process)
            case = Case(size, short_side, str(home / "videos"), root)
            lines += measure(case, args.processes, args.rounds, args.seconds)
            print("\n".join(lines[-6:]), flush=True)
    finally:
        ray.shutdown()
        shutil.rmtree(home, ignore_errors=True)
    if args.markdown:
        args.markdown.write_text("# Feed\n\n```text\n" + "\n".join(lines) + "\n```\n")


if __name__ == "__main__":
    main()
