"""Whether sealed batches look like the work of people who agree: what the gate of batch health judges."""

from collections.abc import Sequence

import numpy as np

from pipeline.annotate.batches import Batch
from pipeline.annotate.schema import LEVELS
from pipeline.retrain.evidence import BatchHealth
from pipeline.retrain.stats import steadiness


def health_of(batches: Sequence[Batch], classes: Sequence[str]) -> BatchHealth:
    """Measure batches, read and found whole.

    A clip counts as flagged when somebody refused to judge it since the batch before; it is in no batch.

    Args:
        batches: at least one.
        classes: class texts by class index.
    """
    rows = [row for batch in batches for row in batch.rows]
    flagged = sum(int(batch.manifest.get("flagged", 0)) for batch in batches)
    scores = [score for row in rows for score in row.scores]
    known_F = np.array([score for score in scores if score is not None], np.float64)
    nearest_F = np.abs(known_F[:, None] - np.array(LEVELS)).argmin(axis=1)
    share_L = np.bincount(nearest_F, minlength=len(LEVELS)) / max(1, len(known_F))
    doubled = [row for row in rows if row.n_annotators > 1]
    kappas = [row.kappa for row in doubled if row.kappa is not None]
    clips: dict[str, list[tuple[float | None, ...]]] = {}
    for row in rows:
        clips.setdefault(classes[row.label], []).append(row.scores)
    steady = {text: steadiness(found) for text, found in sorted(clips.items())}
    return BatchHealth(
        clips=len(rows),
        kappa=float(np.mean(kappas)) if kappas else None,
        doubled=len(doubled),
        flagged=flagged / (len(rows) + flagged),
        levels=(float(share_L[0]), float(share_L[1]), float(share_L[2])),
        unset=1.0 - len(known_F) / len(scores),
        by_class={text: len(found) for text, found in sorted(clips.items())},
        steadiness=steadiness([row.scores for row in rows]),
        steadiness_by_class={text: value for text, value in steady.items() if value is not None},
        blank_by_class={text: sum(not any(clip) for clip in found) for text, found in sorted(clips.items())},
    )
