"""Augmentations that cannot be meant are refused with what is allowed."""

import math

import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import AugmentConfig


@pytest.mark.parametrize(
    "change",
    [
        {"flip": -0.1},
        {"flip": 1.5},
        {"flip": math.nan},
        {"area": (0.5, 0.25)},
        {"area": (0.0, 1.0)},
        {"area": (0.5, 1.5)},
        {"ratio": (2.0, 0.5)},
        {"ratio": (-1.0, 1.0)},
        {"scales": ()},
        {"scales": (1.0, 0.0)},
        {"scales": (0.66, 1.0)},
        {"scales": (1.2, 1.0)},
        {"brightness": -0.1},
        {"contrast": math.inf},
        {"saturation": -1.0},
        {"hue": math.nan},
    ],
)
def test_an_impossible_augmentation_is_refused(change):
    with pytest.raises(UserError, match=r"augmentation is impossible.*flip 0 to 1; area and ratio positive"):
        AugmentConfig(**change)


def test_the_ends_of_the_ranges_are_allowed():
    AugmentConfig(
        flip=1.0, area=(1.0, 1.0), ratio=(1.0, 1.0), scales=(1.0,), brightness=0, contrast=0, saturation=0, hue=0
    )
