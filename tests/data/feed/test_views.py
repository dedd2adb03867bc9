"""Mirrored crops only where a mirrored video keeps its class."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import ViewConfig
from pipeline.data.feed.views import check_mirroring

SIDED, FREE = ("push left", "push right"), ("jump", "run")


def test_ten_crops_of_classes_that_name_a_direction_are_refused():
    with pytest.raises(UserError, match=r"Mirrored test crops.*view\.crops=3"):
        check_mirroring(ViewConfig(crops=10), SIDED)


@pytest.mark.parametrize(("crops", "classes"), [(1, SIDED), (3, SIDED), (10, FREE)])
def test_other_crops_and_other_classes_are_not(crops, classes):
    check_mirroring(ViewConfig(crops=crops), classes)
