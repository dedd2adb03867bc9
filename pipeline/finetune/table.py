"""The table of a fine-tuning: top-1 of edited classes, of the others and of all, before and after, and of the control.

Every share is a quotient of integers over videos, as in S0 table 2: 148 of 722 videos of its eight classes are 20.50 %,
14,376 of the other 24,055 are 59.76 %, and both together 58.62 %. A mean over classes would be another number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.eval.compare import Paired
from pipeline.eval.load import INVERSIONS, Inversion
from pipeline.eval.metrics import Counts, wilson
from pipeline.eval.report import INVERSION_NAMES

GROUPS = ("edited", "other", "all")


@dataclass(frozen=True)
class Share:
    """Right answers among the videos of some classes."""

    hits: int
    videos: int

    def percent(self) -> str:
        """Return the share in percent, with the integers."""
        return f"{100 * self.hits / self.videos:.2f} ({self.hits}/{self.videos})" if self.videos else "no video"


@dataclass(frozen=True)
class Answers:
    """What one network said of every video of a split."""

    counts: Mapping[Inversion, Counts]
    """By inversion of its attention; "none" is the network as it is."""
    hits: Mapping[str, tuple[int, bool]]
    """True class and whether it was found, by video, without inversion."""


def shares(counts: Counts, edited: Sequence[int]) -> dict[str, Share]:
    """Return top-1 of the videos whose true class is edited, is another, and of all.

    Args:
        counts: of a split.
        edited: class indices.

    Raises:
        ValueError: a class that the counts do not know.
    """
    if any(not 0 <= k < counts.classes for k in edited):
        raise ValueError(f"edited classes must be in [0, {counts.classes}). Received: {sorted(edited)}.")
    edited_K = np.isin(np.arange(counts.classes), edited)
    hits_K, total_K = np.diagonal(counts.confusion_KK), counts.total_by_class
    chosen = {"edited": edited_K, "other": ~edited_K, "all": np.ones_like(edited_K)}
    return {name: Share(int(hits_K[mask_K].sum()), int(total_K[mask_K].sum())) for name, mask_K in chosen.items()}


def compared(first: Answers, second: Answers, edited: Sequence[int]) -> dict[str, Paired]:
    """Return which videos only one of two networks gets right, by group.

    Raises:
        ValueError: they answered other videos.
    """
    if first.hits.keys() != second.hits.keys():
        raise ValueError("both networks must have answered the same videos")
    found = {}
    for group in GROUPS:
        among = [v for v, (k, _) in first.hits.items() if group == "all" or (k in edited) == (group == "edited")]
        pairs = [(first.hits[video][1], second.hits[video][1]) for video in among]
        found[group] = Paired(len(pairs), sum(b > a for a, b in pairs), sum(a > b for a, b in pairs))
    return found


def table(answers: Mapping[str, Answers], edited: Sequence[int]) -> str:
    """Return the table in plain text.

    Args:
        answers: by name, such as before, after, control; the first is compared with all others, and "after" with
            "control".
        edited: indices of the edited classes.
    """
    lines: list[tuple[str, ...]] = [("top-1 %", *GROUPS)]
    for name, one in answers.items():
        found = shares(one.counts["none"], edited)
        lines.append((name, *(found[group].percent() for group in GROUPS)))
    for a, b in _pairs(answers):
        paired = compared(answers[a], answers[b], edited)
        cells = [f"+{paired[g].gained} -{paired[g].lost} (p {paired[g].p_value():.3f})" for g in GROUPS]
        lines.append((f"{a} to {b}, videos", *cells))
    return "\n".join([aligned(lines), "", _inversions(answers)])


def _inversions(answers: Mapping[str, Answers]) -> str:
    """How far top-1 falls when attention is turned into its opposite; the further, the more it matters."""
    lines: list[tuple[str, ...]] = [("top-1 % of all", *(INVERSION_NAMES[i] for i in INVERSIONS))]
    for name, one in answers.items():
        lines.append((name, *(f"{100 * one.counts[i].top1().value:.2f}" for i in INVERSIONS)))
    return aligned(lines)


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """Return rows of cells as text: the first column flush left, the others flush right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def numbers(answers: Mapping[str, Answers], edited: Sequence[int]) -> dict[str, Any]:
    """Return the same as JSON values, with intervals."""
    found: dict[str, Any] = {"edited_classes": sorted(edited), "networks": {}}
    for name, one in answers.items():
        found_shares = {group: s for group, s in shares(one.counts["none"], edited).items() if s.videos}
        groups = {g: {**asdict(s), "top1": asdict(wilson(s.hits, s.videos))} for g, s in found_shares.items()}
        inverted = {i: {"top1_hits": one.counts[i].top1_hits, "videos": one.counts[i].videos} for i in INVERSIONS}
        found["networks"][name] = {"groups": groups, "inversions": inverted}
    found["paired"] = {
        f"{a} to {b}": {g: {**asdict(p), "p": p.p_value()} for g, p in compared(answers[a], answers[b], edited).items()}
        for a, b in _pairs(answers)
    }
    return found


def _pairs(names: Mapping[str, object]) -> list[tuple[str, str]]:
    """The first against every other, and the control against what it is a control of."""
    first, *others = names
    pairs = [(first, name) for name in others]
    return [*pairs, ("control", "after")] if {"after", "control"} <= set(others) else pairs
