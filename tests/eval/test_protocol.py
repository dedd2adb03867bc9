"""A protocol is what its name says, and a name that does not fit the network is refused."""

import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import ClipConfig
from pipeline.eval.protocol import protocol_of


@pytest.mark.parametrize(
    ("text", "options", "clips", "stride", "name"),
    [
        ("", {}, 1, 1, "32"),
        ("32", {}, 1, 1, "32"),
        ("32x2", {}, 2, 1, "32x2"),
        ("32", {"stride": 2}, 1, 2, "32 stride 2"),
        ("32x10", {"crops": 3}, 10, 1, "32x10 3 crops"),
    ],
)
def test_names(text, options, clips, stride, name):
    protocol = protocol_of(ClipConfig(), text, **options)
    assert (protocol.view.clips, protocol.clip.stride, protocol.name) == (clips, stride, name)
    assert len(protocol.views) == clips * options.get("crops", 1)


def test_two_clips_and_stride_two_are_described_apart():
    two = protocol_of(ClipConfig(), "32x2").describe()
    stride = protocol_of(ClipConfig(), "32", stride=2).describe()
    assert "2 clips of 32 frames, stride 1" in two
    assert "mean of the softmax scores" in two
    assert "1 clip of 32 frames, stride 2" in stride
    assert "mean" not in stride


@pytest.mark.parametrize("text", ["16", "16x2", "32x0", "x2", "32*2", "-32"])
def test_a_protocol_that_does_not_fit_is_refused(text):
    with pytest.raises(UserError, match="32x2"):
        protocol_of(ClipConfig(), text)
