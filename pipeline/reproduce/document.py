"""Tables, claims and costs as text: the same on a screen and in the document, and no number that was typed."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.eval.metrics import Interval
from pipeline.reproduce.collect import Figure, Filled
from pipeline.reproduce.judge import Claim, Judged, summary
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.world import DATA, World

OUT = "$OUT"
"""Stands for the folder of the reproduction in printed commands, which would not be another machine's."""
HEAD = ("row", "figure", "paper", "ours (95 %)", "difference", "protocol", "passport")
ABSENT = "-"


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a document tells."""

    desk: Desk
    tables: Sequence[Filled]
    claims: Sequence[tuple[Claim, tuple[Judged, ...]]]
    command: str
    pictures: Mapping[str, str]
    """Where the document finds each picture, by its file."""


def table_text(filled: Filled, world: World) -> str:
    """Return a table: a line for each number of the paper, ours beside it."""
    table = filled.table
    lines = [HEAD]
    for row in table.rows:
        for column in table.columns:
            figure = filled.figures.get((row.name, column))
            paper, printed = table.value(row.name, column), table.published(row.name, column)
            lines.append((row.name, column, printed or ABSENT, *_ours(figure, paper, world)))
    told = [f"### {table.key}: {table.title}", "", f"{table.source}. Ours: {world.label}.", ""]
    if table.rows:
        told += [*markdown(lines), "", "What stands for a row:", "", *_standing(filled), ""]
    told += [f"- {row}: not whole; {why}." for row, why in filled.lacking.items()]
    told += [f"- {note}" for note in (*table.notes, *filled.bound.notes)]
    if table.cited:
        told += ["", "The paper cites beside them, of others, and nothing here stands for these:", ""]
        told += [*table.cited_lines(), ""]
    if world.is_synth and table.rows:
        told.append(
            "- No difference to the paper is stated: other videos, other networks. Rows compare with each other."
        )
    if any(figure.trivial for figure in filled.figures.values()):
        told.append("- A top-5 among five classes or fewer is always right, never drops, and says nothing.")
    if any(figure.is_chance for figure in filled.figures.values()):
        told.append(
            "- At chance: over all classes, the interval reaches down to what the commonest classes alone would get. "
            "Such a network decides nothing."
        )
    return "\n".join(told)


def _ours(figure: Figure | None, paper: float | None, world: World) -> tuple[str, str, str, str]:
    if figure is None:
        return ABSENT, ABSENT, ABSENT, ABSENT
    value = figure.value
    about = (figure.about.protocol, figure.about.passport[:12])
    if figure.unit == "s":
        return f"{value.value:,.0f} s", ABSENT, *about
    if figure.unit == "of 1":
        return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f}), {figure.videos:,} clips", ABSENT, *about
    difference = ABSENT
    if paper is not None and not world.is_synth:
        difference = interval(Interval(*(part - paper for part in (value.value, value.low, value.high))), "+")
    ours = f"{interval(value)}, {figure.videos:,} videos{', at chance' if figure.is_chance else ''}"
    return ours, difference, *about


def interval(value: Interval, sign: str = "") -> str:
    """Return a number with its interval, percent or points."""
    return f"{value.value:{sign}.2f} ({value.low:{sign}.2f} to {value.high:{sign}.2f})"


def _standing(filled: Filled) -> Iterator[str]:
    """What stands for each row."""
    for row, words in filled.bound.standing.items():
        yield f"- {row}: `{words}`"


def markdown(lines: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as a table that is aligned on a screen too."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines]
    return [padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]]


def claim_text(claim: Claim, judged: tuple[Judged, ...]) -> str:
    """Return a claim with its comparisons."""
    told = [f"**{claim.text}** ({claim.source}): {summary(judged)}."]
    if not judged:
        return told[0]
    lines: list[tuple[str, ...]] = [
        ("comparison", "difference, points (95 %)", "videos", "gained", "lost", "McNemar p", "verdict")
    ]
    for one in judged:
        p = ABSENT if one.p is None else f"{one.p:.2g}" if one.p >= 1e-4 else "< 0.0001"
        counts = (ABSENT if count is None else str(count) for count in (one.gained, one.lost))
        lines.append((one.part.name, interval(one.difference, "+"), f"{one.videos:,}", *counts, p, one.words))
    told += ["", *markdown(lines)]
    apart = [one for one in judged if one.protocols]
    if apart:
        told += ["", *(f"- {one.part.name}: unequal protocols, {' against '.join(one.protocols)}." for one in apart)]
    return "\n".join([*told, "", claim.note] if claim.note else told)


def document(report: Report) -> str:
    """Return the whole document."""
    desk, command = report.desk, report.command.replace(report.desk.out, OUT)
    parts = [
        f"# The papers' tables on {desk.world.label}",
        f"Written {datetime.now(UTC):%Y-%m-%d} by `{command}`, and no number in it by hand.",
        machines_text(desk),
        "S0 and S2 share a pipeline (consecutive frames), S1 has another (segments), S3 is of two streams. No "
        "comparison mixes them. Intervals are 95 %, by bootstrap over videos (Wilson's where all or none are right, an "
        "exact bound where no video differs, or all do). Those of claims are paired, on the same videos, under one "
        "protocol unless two are named, and not corrected for their number; a difference to a paper knows our videos' "
        "sampling alone. All are of one training each: what another seed would change is not in them.",
        "## Tables",
        *(_with_pictures(filled, report) for filled in report.tables),
        "## Claims",
        "A claim holds where the whole interval of the difference is above zero and McNemar's exact test agrees "
        "(p < 0.05, for answers), fails where both say the reverse, and is undecided otherwise. It is undecided too "
        "where a network is at chance over all classes, unless being there is what is claimed (of inverted attention, "
        "of hidden maps) or by design (of a stream that cannot see the class); that is then said beside.",
        *(claim_text(claim, judged) for claim, judged in report.claims),
        "## What was run",
        cost_text(desk),
        "## Commands",
        "In the order in which they began; `$OUT` is the folder of the reproduction. Each works by itself, or by "
        "`cluster/laptop.sh submit`.",
        commands_text(desk),
    ]
    return "\n\n".join(parts) + "\n"


def _with_pictures(filled: Filled, report: Report) -> str:
    shown = [
        f"![{filled.table.title}: {name}]({report.pictures[file]})"
        for name, file in filled.pictures.items()
        if file in report.pictures
    ]
    return "\n\n".join([table_text(filled, report.desk.world), *shown])


def machines_text(desk: Desk) -> str:
    """Return what cells were run by: machine, software and commit, each with how many cells."""
    records = _records(desk)
    told = []
    for key, title in (("machine", "Machine"), ("software", "Software"), ("commit", "Commit")):
        counts = Counter(record.get("made_by", {}).get(key, "not recorded") for record in records)
        if len(counts) == 1:
            told.append(f"- {title}: {next(iter(counts))}")
        else:
            told += [f"- {title}: {text} ({count} of {len(records)} cells)" for text, count in counts.items()]
    return "\n".join(told)


def _records(desk: Desk) -> list[dict[str, Any]]:
    """What was recorded of the cells that are done, in the order in which they began."""
    found = [record for cell in desk.cells.values() if desk.is_done(cell) and (record := desk.record(cell))]
    return sorted(found, key=lambda record: str(record["began"]))


def cost_text(desk: Desk) -> str:
    """Return every cell with its key, its code and its wall time."""
    records = _records(desk)
    told = [f"- {name}: passport {passport}" for name in DATA if (passport := desk.passport(name))]
    lines: list[tuple[str, ...]] = [("cell", "key", "commit", "began (UTC)", "seconds")]
    lines += [(r["cell"], r["key"][:12], _commit(r), r["began"], f"{r['seconds']:.0f}") for r in records]
    told += ["", "Wall time of each cell's last attempt; cells of different lanes run side by side.", ""]
    told += [*markdown(lines), "", f"Added up {sum(r['seconds'] for r in records) / 60:.1f} minutes"]
    if records:
        spans = [(datetime.fromisoformat(record["began"]), record["seconds"]) for record in records]
        last = max(began + timedelta(seconds=seconds) for began, seconds in spans)
        minutes = (last - spans[0][0]).total_seconds() / 60
        told[-1] += f", and {minutes:.1f} from the first beginning to the last end, pauses included"
    told[-1] += "."
    return "\n".join(told)


def _commit(record: Mapping[str, Any]) -> str:
    commit, *changed = record.get("made_by", {}).get("commit", "unknown").split(" ", 1)
    return " ".join([commit[:10], *changed])


def commands_text(desk: Desk) -> str:
    """Return every command that was run, as it can be typed."""
    told = [shlex.join(command) for record in _records(desk) for command in record["commands"]]
    return "\n".join(["```bash", *(line.replace(desk.out, OUT) for line in told), "```"])
