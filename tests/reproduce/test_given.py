"""Data sets that people bring are what they are said to be."""

import pytest

from pipeline.core.errors import UserError
from pipeline.reproduce.catalogue import world_of
from pipeline.reproduce.given import check_given


def test_a_folder_without_a_prepared_data_set_is_told_with_what_was_received(tmp_path):
    (tmp_path / "manifest").touch()
    with pytest.raises(UserError) as error:
        check_given({"ucf101": str(tmp_path)})
    assert f"Received: {tmp_path}. Allowed: a folder or URI with manifest.json" in str(error.value)
    with pytest.raises(UserError, match="--name ucf101"):
        world_of([f"ucf101={tmp_path}"])
