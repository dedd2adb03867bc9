"""What a data set allows of its test views."""

import functools
import logging
from collections.abc import Sequence

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig, ViewConfig
from pipeline.data.feed.flip import is_direction_free
from pipeline.data.store.prepared import PreparedDataset


def check_mirroring(views: ViewConfig, classes: Sequence[str]) -> None:
    """Refuse mirrored crops where a mirrored video belongs to another class: their mean would mix two answers.

    Raises:
        UserError: ten crops, and a class text that names a direction.
    """
    if views.crops == 10 and not is_direction_free(classes):
        raise UserError(
            problem(
                "Mirrored test crops change the class of some videos",
                got="10 crops, five of them mirrored",
                allowed="1 or 3 crops where class texts name left, right or a sense of turning",
                fix="use --crops 3, or view.crops=3 in a recipe",
            )
        )


def note_enlarging(dataset: PreparedDataset, clip: ClipConfig) -> None:
    """Say once a process that test frames are enlarged: scores are right, and lower than the videos allow."""
    _note_enlarging(dataset.root, dataset.manifest.get("short_side", clip.short_side), clip.short_side)


@functools.cache
def _note_enlarging(root: str, stored: int, wanted: int) -> None:
    if wanted > stored:
        logging.getLogger(__name__).warning(
            "%s was prepared with a short side of %d, so test frames are enlarged to clip.short_side=%d. Lower "
            "clip.short_side, or prepare the videos with --short-side %d.",
            *(root, stored, wanted, wanted),
        )
