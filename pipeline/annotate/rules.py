"""The rules of annotation as pure functions: agreement, the answer an item ends with, and draws that never change.

A draw depends on names alone, so importing a campaign twice, or elsewhere, decides the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.annotate.schema import LEVELS, Source

SOURCES: tuple[Source, ...] = ("human", "filled", "model")
"""Their place is how a batch stores them."""


@dataclass(frozen=True)
class Agreement:
    """How two answers to a clip compare."""

    kappa: float | None
    """Cohen's, with quadratic weights over the three levels; None where chance leaves nothing to agree on."""
    distance: float
    """Mean |difference|."""
    agreed: bool


def compare(ours: Sequence[float], theirs: Sequence[float], limit: float) -> Agreement:
    """Compare two answers of the same length.

    Args:
        ours: a level for every frame.
        theirs: the same of somebody else.
        limit: mean |difference| up to which they agree, unless a frame is 0.0 in one and 1.0 in the other.
    """
    a_V, b_V = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    difference_V = np.abs(a_V - b_V)
    distance = float(difference_V.mean())
    return Agreement(quadratic_kappa(a_V, b_V), distance, distance <= limit and float(difference_V.max()) < 1.0)


def quadratic_kappa(a_V: npt.NDArray[np.float64], b_V: npt.NDArray[np.float64]) -> float | None:
    """Return 1 - observed / expected squared difference; expected pairs every frame of one with all of the other."""
    expected = float(((a_V[:, None] - b_V[None, :]) ** 2).mean())
    return None if expected == 0.0 else 1.0 - float(((a_V - b_V) ** 2).mean()) / expected


def merge(answers: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[Source]]:
    """Return the median score of every frame and the strongest source: human before filled before model."""
    scores_NV = np.asarray([answer["scores"] for answer in answers], np.float64)
    places_NV = np.asarray([[SOURCES.index(source) for source in answer["sources"]] for answer in answers])
    return np.median(scores_NV, axis=0).tolist(), [SOURCES[place] for place in places_NV.min(axis=0)]


def snapped(curve: Sequence[float]) -> list[float]:
    """Return the nearest level for every value; what "start from the model" offers. Halfway goes up."""
    return [LEVELS[int(min(2, max(0, np.floor(2 * value + 0.5))))] for value in curve]


def drawn(*names: str) -> float:
    """Return a number in [0, 1) that is the same for the same names, everywhere and always."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def lowest(names: Sequence[str], share: float, purpose: str) -> frozenset[str]:
    """Return the share of the names (rounded) whose draw is lowest."""
    ordered = sorted(names, key=lambda name: (drawn(purpose, name), name))
    return frozenset(ordered[: round(share * len(ordered))])


def pseudonym(*names: str, prefix: str, letters: int = 16) -> str:
    """Return an id that says nothing about the names it stands for."""
    return prefix + hashlib.sha256("\0".join(names).encode()).hexdigest()[:letters]
