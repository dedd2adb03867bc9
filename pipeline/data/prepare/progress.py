"""What a person sees of a preparation: a line every few seconds, and a summary at the end."""

import time
from collections.abc import Callable

from pipeline.core import storage
from pipeline.data.prepare.run import Report
from pipeline.data.store.prepared import QUARANTINE

_SHOWN = 3
"""Videos named for each reason."""


class Progress:
    """Says how far a run is: at most one line every `every_s` seconds, and one at the end.

    Args:
        total: videos to do, or whatever else is counted.
        say: prints a line.
        every_s: seconds between lines.
        clock: seconds, monotonic.
        unit: what is counted.
    """

    def __init__(
        self,
        total: int,
        say: Callable[[str], None],
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "videos",
    ) -> None:
        self._total, self._say, self._every_s, self._clock, self._unit = total, say, every_s, clock, unit
        self._start_s = self._last_s = clock()
        self._first: tuple[float, int] | None = None
        self._finished = False

    def __call__(self, done: int, quarantined: int) -> None:
        """Take note of the totals so far."""
        now_s = self._clock()
        finished = done == self._total
        if done and self._first is None:
            self._first = (now_s, done)
        if self._finished or not done or (now_s - self._last_s < self._every_s and not finished):
            return
        self._last_s, self._finished = now_s, finished
        parts = [f"{done:,} of {self._total:,} {self._unit} ({done / self._total:.1%})", *self._pace(now_s, done)]
        if finished:
            parts.append(f"in {duration(now_s - self._start_s)}")
        self._say(", ".join([*parts, f"{quarantined:,} quarantined"]))

    def _pace(self, now_s: float, done: int) -> list[str]:
        """Rate and time left, counted from the first video on: before it, the cluster was starting."""
        assert self._first is not None
        first_s, first_done = self._first
        if now_s <= first_s or done <= first_done:
            return []
        rate = (done - first_done) / (now_s - first_s)
        left = [f"{duration((self._total - done) / rate)} left"] if done < self._total else []
        return [f"{rate:,.1f} a second", *left]


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 45 s, 12 min 30 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def summary(report: Report, root: str) -> str:
    """Return the end of a run in words: counts that add up, every reason with examples, the passport."""
    counts = report.counts
    work = f"{report.shards_done:,} shards written, {report.shards_kept:,} were up to date"
    lines = [
        "Nothing to do: everything is up to date." if not report.published else f"{work}.",
        f"{counts.listed:,} videos listed = {counts.readable:,} readable + {counts.quarantined:,} quarantined",
    ]
    lines += [f"  {split}: {number:,} readable" for split, number in counts.by_split.items()]
    for reason, number in counts.by_reason.items():
        rows = [row for row in report.quarantined if row.reason == reason]
        lines.append(f"  {reason}: {number:,}")
        lines += [f"    {row.path}: {row.detail}" for row in rows[:_SHOWN]]
        if number > _SHOWN:
            lines.append(f"    and {number - _SHOWN:,} more, all in quarantine.parquet")
    if report.noted:
        first = report.noted[0]
        lines.append(f"{len(report.noted):,} readable videos carry a note, such as {first.path}: {first.note}")
    return "\n".join([*lines, f"passport {report.passport}", f"prepared data set {root}"])


def too_many(report: Report, allowed: int, root: str) -> str:
    """Say that more videos are quarantined than are allowed, where they are named, and what can be done."""
    count, reasons = report.counts.quarantined, " ".join(report.counts.by_reason)
    table = storage.join(root, QUARANTINE)
    return (
        f"at most {allowed:,} quarantined videos are allowed, and {count:,} are. {table} names them. The "
        f"rest is prepared. Mend the files and run again, try unchanged files again with --retry {reasons}, or "
        f"accept them with --allow-quarantine {count}."
    )
