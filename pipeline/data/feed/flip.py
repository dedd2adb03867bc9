"""Which class a horizontally mirrored video belongs to, read from the class texts.

The mirror image of "Pulling something from left to right" is "Pulling something from right to left"; flipping the
frames and keeping the label would teach the opposite. Words are compared, never indices, so the map follows whatever
order a data set's official files have. Only English texts are read.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

NEVER = -1
"""In a flip map: videos of this class are never flipped."""

FlipMap = tuple[int, ...]
"""Class after a flip, by class index; the class itself where mirroring does not matter, or NEVER."""

_MIRROR = {
    "left": "right",
    "right": "left",
    "leftward": "rightward",
    "rightward": "leftward",
    "leftwards": "rightwards",
    "rightwards": "leftwards",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
}


def flip_map(classes: Sequence[str], pairs: Literal["from_labels", "none"] = "from_labels") -> FlipMap:
    """Return the class of each class's mirrored video.

    A class without a direction word maps to itself: UCF-101 and HMDB-51 flip freely. A class with one maps to the
    class whose words are the mirrored ones. Where that class is missing, or where two classes share the same words,
    no label would be right, and the class maps to NEVER: its videos keep their side. Two directions turn up as words:
    left/right (as in "leftwards") and clockwise/counterclockwise (also "anti-clockwise"), both of which a mirror
    swaps. "Right out", "right away" and "right now" name no side. Any other use of a direction word ("the right size")
    costs that class its flips and nothing else.

    Args:
        classes: class texts by class index.
        pairs: "none" maps every class to itself, whatever its words: labels never change.

    Returns:
        A map `m` with `m[m[k]] == k` wherever `m[k] != NEVER`.
    """
    if pairs == "none":
        return tuple(range(len(classes)))
    words = [_words(text) for text in classes]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for k, key in enumerate(words):
        holders[key].append(k)

    def mirrored(k: int) -> int:
        mirror = tuple(_MIRROR.get(word, word) for word in words[k])
        if mirror == words[k]:
            return k
        unambiguous = len(holders[words[k]]) == 1 and len(holders.get(mirror, ())) == 1
        return holders[mirror][0] if unambiguous else NEVER

    return tuple(mirrored(k) for k in range(len(classes)))


def is_direction_free(classes: Sequence[str]) -> bool:
    """Tell whether mirroring changes no class, so that mirrored test crops may be averaged with the others."""
    return flip_map(classes) == tuple(range(len(classes)))


def _words(text: str) -> tuple[str, ...]:
    """Split a class text into lower-case words: at spaces, punctuation, underscores and camel-case humps."""
    humps = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    flat = " ".join(re.findall(r"[^\W_]+", humps.lower()))
    flat = re.sub(r"\b(?:counter|anti) ?clockwise\b", "counterclockwise", flat)
    return tuple(re.sub(r"\bright (?=(?:out|away|now)\b)", "", flat).split())
