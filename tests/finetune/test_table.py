"""The edited / other / all table against the paper's own numbers and brute force."""

import numpy as np
import pytest

from pipeline.eval.load import INVERSIONS
from pipeline.eval.metrics import Counts, count
from pipeline.finetune.table import Answers, Share, compared, numbers, shares, table


def paper(edited_hits, other_hits):
    """S0 table 2: 722 videos of eight classes, 24,055 of 166 others, spread unevenly over them."""
    confusion_KK = np.zeros((174, 174), np.int64)
    for first, last, hits, videos in ((0, 8, edited_hits, 722), (8, 174, other_hits, 24055)):
        classes = last - first
        totals = np.full(classes, videos // classes)
        totals[0] += videos - totals.sum()
        rights = np.minimum(totals, hits // classes)
        rights[0] += hits - rights.sum()
        for k, total, right in zip(range(first, last), totals, rights, strict=True):
            confusion_KK[k, k] = right
            confusion_KK[k, (k + 1) % 174] = total - right
    return Counts(confusion_KK, confusion_KK.sum(axis=1))


def test_shares_are_of_videos_as_in_the_papers_table():
    before, after = (shares(paper(*hits), range(8)) for hits in ((148, 14376), (190, 14838)))
    percents = [f"{100 * found[g].hits / found[g].videos:.2f}" for found in (before, after) for g in found]
    assert percents == ["20.50", "59.76", "58.62", "26.32", "61.68", "60.65"]
    assert before["all"] == Share(14524, 24777)


def answers_of(scores_BK, label_B):
    counts = count(scores_BK, label_B)
    hits = {f"v{b}": (int(k), int(scores_BK[b].argmax()) == k) for b, k in enumerate(label_B)}
    return Answers(dict.fromkeys(INVERSIONS, counts), hits)


@pytest.fixture
def three():
    rng = np.random.default_rng(0)
    label_B = rng.integers(0, 5, 200)
    return {name: answers_of(rng.random((200, 5)), label_B) for name in ("before", "after", "control")}


def test_groups_add_up_and_agree_with_counting_videos(three):
    for one in three.values():
        found = shares(one.counts["none"], [1, 3])
        assert found["edited"].videos + found["other"].videos == found["all"].videos == 200
        assert found["edited"].hits + found["other"].hits == found["all"].hits
        assert found["edited"].hits == sum(hit for k, hit in one.hits.values() if k in (1, 3))


def test_gains_and_losses_explain_the_difference_of_shares(three):
    found = compared(three["before"], three["after"], [1, 3])
    for group, pair in found.items():
        a, b = (shares(three[name].counts["none"], [1, 3])[group].hits for name in ("before", "after"))
        assert pair.gained - pair.lost == b - a
    with pytest.raises(ValueError, match="same videos"):
        compared(three["before"], Answers({}, {}), [1])
    with pytest.raises(ValueError, match="Received"):
        shares(three["before"].counts["none"], [5])


def test_the_text_and_the_numbers_say_the_same(three):
    text, found = table(three, [1, 3]), numbers(three, [1, 3])
    for name, one in three.items():
        share = shares(one.counts["none"], [1, 3])["edited"]
        assert f"{100 * share.hits / share.videos:.2f} ({share.hits}/{share.videos})" in text
        assert found["networks"][name]["groups"]["edited"]["hits"] == share.hits
    assert set(found["paired"]) == {"before to after", "before to control", "control to after"}
    assert "control to after, videos" in text
    assert "spatial inverted" in text
    assert "no video" in table({"before": three["before"]}, [])
