"""How many key presses a median clip takes, counted by a scripted run on the real page; a model says how long that is.

    python -m pytest -q -s tests/annotate/browser/test_keys.py

prints the counts, the seconds that the keystroke-level model gives to them, and how long the page itself needed.
The model: Card, Moran and Newell, "The keystroke-level model for user performance time with interactive systems",
Communications of the ACM 23(7), 1980: K, a key press of an average typist (40 words a minute), 0.28 s; M, making up
one's mind before a step, 1.35 s. Nobody was timed.
"""

import statistics
import time
from collections import deque

import numpy as np
import pytest
from playwright.sync_api import expect

K_S, M_S = 0.28, 1.35
FRAMES, FPS, ROW, STRIDE = 45, 12, 16, 4
DECISIONS = 6
"""What is it; where the motion begins and ends; where its key moment begins and ends; is that all."""
TARGET_S = 25.0


def shapes(count):
    """Answers as the authors' demonstration shows them, 0 .. 0.5 .. 1 .. 0.5 .. 0, of random places and lengths."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        motion = sorted(rng.choice(np.arange(2, FRAMES - 2), 2, replace=False))
        while motion[1] - motion[0] < 6:
            motion = sorted(rng.choice(np.arange(2, FRAMES - 2), 2, replace=False))
        first = int(rng.integers(motion[0] + 1, motion[1] - 2))
        last = min(first + int(rng.integers(0, 5)), int(motion[1]) - 1)
        yield int(motion[0]), int(motion[1]), first, last


def way(start, goal, shift=""):
    """Return the fewest keys from one frame to another."""
    steps = {"ArrowLeft": -1, "ArrowRight": 1, "PageUp": -STRIDE, "PageDown": STRIDE, "ArrowUp": -ROW, "ArrowDown": ROW}
    steps |= {"Home": -FRAMES, "End": FRAMES}
    found, waiting = {start: []}, deque([start])
    while goal not in found:
        frame = waiting.popleft()
        for key, step in steps.items():
            there = min(max(frame + step, 0), FRAMES - 1)
            if there not in found:
                found[there] = [*found[frame], shift + key]
                waiting.append(there)
    return found[goal]


def script(begin, end, first, last):
    """Return the keys of a whole clip: all 0, the motion as a range, its key moment in it, submit."""
    back = min(way(end, first), ["[", *way(begin, first)], key=len)
    motion = [*way(0, begin), *way(begin, end, "Shift+"), "2"]
    return ["a", "1", *motion, *back, *way(first, last, "Shift+"), "3", "Enter"]


@pytest.mark.slow
def test_a_median_clip_takes_few_keys(service, somebody, answers, until):
    plans = list(shapes(200))
    presses = [len(script(*plan)) for plan in plans]
    modelled = [FRAMES / FPS + DECISIONS * M_S + K_S * count for count in presses]
    # Only what the page truly does with these keys counts.
    server = service()
    page = somebody(server).tab()
    took = []

    def shown():
        return page.locator("#strip").get_attribute("data-item")

    for number, (begin, end, first, last) in enumerate(plans[:4]):
        before = shown()
        start = time.perf_counter()
        for key in script(begin, end, first, last):
            page.keyboard.press(key)
        until(lambda before=before: shown() != before)
        took.append(time.perf_counter() - start)
        until(lambda number=number: len(answers(server)) == number + 1)
        expected = np.zeros(FRAMES)
        expected[begin : end + 1], expected[first : last + 1] = 0.5, 1.0
        assert answers(server)[-1]["answer"]["scores"] == expected.tolist()
        expect(page.locator(".cell[data-current]")).to_have_attribute("data-frame", "0")
    middle = statistics.median
    print(f"\nkey presses a clip of {FRAMES} frames: median {middle(presses):.0f}, at most {max(presses)}")
    print(
        f"watching once {FRAMES / FPS:.2f} s + {DECISIONS} M + K per press: median {middle(modelled):.1f} s, ", end=""
    )
    print(f"at most {max(modelled):.1f} s")
    print(f"the page needed, from the first key to the next clip: median {middle(took):.2f} s")
    assert middle(modelled) <= TARGET_S
