"""The end of an extraction in words."""

from pipeline.core import storage
from pipeline.data.store.published import CATALOG
from pipeline.flow.catalog import REASONS
from pipeline.flow.extract import Report

_SHOWN = 3
"""Videos named for each reason."""


def summary(report: Report, root: str) -> str:
    """Return counts that add up, every reason with examples, what made the flow, the passport."""
    counts = report.counts
    work = f"{report.shards_done:,} shards written, {report.shards_kept:,} were up to date"
    lines = [
        "Nothing to do: everything is up to date." if not report.published else f"{work}.",
        f"{counts.videos:,} readable videos = {counts.ok:,} with flow + {counts.quarantined:,} quarantined",
        f"{counts.pairs:,} pairs by {' and '.join(report.backends) or 'nobody'}",
    ]
    for reason, number in counts.by_reason.items():
        rows = [row for row in report.quarantined if row.reason == reason]
        lines.append(f"  {reason}: {number:,} ({REASONS[reason]})")
        lines += [f"    {row.id}: {row.detail}" for row in rows[:_SHOWN]]
        if number > _SHOWN:
            lines.append(f"    and {number - _SHOWN:,} more, all in {CATALOG}")
    if report.noted:
        first = report.noted[0]
        lines.append(f"WARNING: {len(report.noted):,} videos carry a note, such as {first.id}: {first.note}")
    return "\n".join([*lines, f"passport {report.passport}", f"flow set {root}"])


def too_many(report: Report, allowed: int, root: str) -> str:
    """Say that more videos are quarantined than are allowed, where they are named, and what can be done."""
    number = report.counts.quarantined
    return (
        f"at most {allowed:,} quarantined videos are allowed, and {number:,} are. "
        f"{storage.join(root, CATALOG)} names them. The rest is extracted. Mend the frames (jobs/prepare_data.py "
        f"--verify) or the tree and run again with --retry, or accept them with --allow-quarantine {number}."
    )
