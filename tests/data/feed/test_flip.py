"""The flip map on the official class lists and on texts made to mislead it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.feed.flip import NEVER, flip_map, is_direction_free

METADATA = Path(__file__).parents[3].parent / "shared" / "metadata"


def official(*parts):
    path = METADATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"official metadata not beside the checkout: {'/'.join(parts)}")
    return path.read_text()


def ssv2():
    by_text = json.loads(official("ssv2", "something-something-v2-labels.json"))
    return sorted(by_text, key=lambda text: int(by_text[text]))


def test_something_something_has_exactly_three_pairs():
    classes = ssv2()
    swaps = {k: m for k, m in enumerate(flip_map(classes)) if k != m}
    assert swaps == {86: 87, 87: 86, 93: 94, 94: 93, 166: 167, 167: 166}
    assert "left to right" in classes[86]
    assert "right to left" in classes[87]
    assert not is_direction_free(classes)


def test_a_shuffled_class_list_gives_the_same_pairs_of_texts():
    classes = ssv2()
    turned = classes[100:] + classes[:100]
    pairs = {(turned[k], turned[m]) for k, m in enumerate(flip_map(turned)) if k != m}
    assert pairs == {(classes[k], classes[m]) for k, m in enumerate(flip_map(classes)) if k != m}


def test_ucf101_and_hmdb51_flip_freely():
    ucf = [line.split()[1] for line in official("ucf101", "classInd.txt").splitlines()]
    hmdb = [line.split()[-1] for line in official("hmdb51", "class_list.txt").splitlines()]
    assert len(ucf) == 101
    assert len(hmdb) == 51
    assert is_direction_free(ucf)
    assert is_direction_free(hmdb)


def test_jester_swaps_swipes_and_turns():
    classes = official("jester_v1_layout", "jester-v1-labels.csv").splitlines()
    pairs = {(classes[k], classes[m]) for k, m in enumerate(flip_map(classes)) if k < m}
    assert pairs == {
        ("Swiping Left", "Swiping Right"),
        ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
        ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
    }
    assert NEVER not in flip_map(classes)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["turn_left", "turn_right", "jump"], (1, 0, 2)),
        (["TurnLeft", "TurnRight"], (1, 0)),
        (["turn left"], (NEVER,)),
        (["turn left", "jump", "turning right"], (NEVER, 1, NEVER)),
        (["turn left", "Turn-Left", "turn right"], (NEVER, NEVER, NEVER)),
        (["spin anti-clockwise", "spin clockwise"], (1, 0)),
        (["spin counter clockwise", "spin clockwise"], (1, 0)),
        (["spin counterclockwise"], (NEVER,)),
        (["put upright", "leftovers", "clockwork", "brightening"], (0, 1, 2, 3)),
        (["left clockwise", "right counter-clockwise", "left counter-clockwise"], (1, 0, NEVER)),
        (["pull it right out", "right away right", "right away left"], (0, 2, 1)),
        (["drift leftwards", "drift rightwards"], (1, 0)),
        ([], ()),
    ],
)
def test_words_decide(classes, expected):
    assert flip_map(classes) == expected


def test_pairs_none_never_changes_a_label():
    assert flip_map(["turn left", "turn right", "go left"], "none") == (0, 1, 2)


@given(
    st.lists(
        st.lists(st.sampled_from(["left", "right", "to", "push", "clockwise", "anti-clockwise", "Up"]), max_size=4).map(
            " ".join
        ),
        max_size=12,
    )
)
def test_the_map_is_an_involution_wherever_it_is_defined(classes):
    swap = flip_map(classes)
    assert len(swap) == len(classes)
    for k, m in enumerate(swap):
        assert m == NEVER or swap[m] == k
