"""Names lead to parsers."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="ssv2, ssv1, ucf101, hmdb51, folder"):
        load_listing("kinetics", ".")
