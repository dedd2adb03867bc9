"""The rule that names a winner: edited classes are to rise, others and attention must not pay for it."""

import itertools
import math
import random

import pytest

from pipeline.eval.metrics import Interval
from pipeline.finetune.table import Share
from pipeline.tune.choose import Score, as_good, front, goods, losses, rank_of, score_of, winner
from pipeline.tune.ledger import Rung


def pair(edited, other, heldout=None):
    """A score of 100 edited and 200 other videos."""
    near = None if heldout is None else Interval(heldout, heldout, heldout)
    return Score({"edited": Share(edited, 100), "other": Share(other, 200)}, near, 5 if near else 0)


def test_the_highest_edited_wins_among_those_whose_others_have_not_fallen():
    scores = {0: pair(40, 180), 1: pair(70, 176), 2: pair(55, 178), 3: pair(50, 190)}
    assert winner(scores, 0, margin=1.0) == 2  # 89 % is exactly a point below 90 %; 88 % is too low
    assert winner(scores, 0, margin=0.5) == 3
    assert winner(scores, 0, margin=2.0) == 1


def test_all_of_the_edited_do_not_make_up_for_none_of_the_others():
    """The dearest loss there is: everything edited right, and nothing else."""
    scores = {0: pair(40, 180), 1: pair(100, 0), 2: pair(41, 180)}
    assert winner(scores, 0, margin=1.0) == 2
    assert winner({n: scores[n] for n in (0, 1)}, 0, margin=1.0) == 0
    assert rank_of(pair(100, 0), scores[0], 1.0) < rank_of(pair(0, 180), scores[0], 1.0)


def test_where_every_class_is_edited_nothing_is_lost_elsewhere():
    scores = {n: Score({"edited": Share(hits, 10), "other": Share(0, 0)}) for n, hits in enumerate((5, 7, 6))}
    assert scores[0].groups == ("edited",)
    assert winner(scores, 0, margin=1.0) == 1
    assert front(scores) == [1]
    assert rank_of(scores[1], scores[0], 1.0) == 70.0


def test_the_control_wins_when_nothing_beats_it():
    assert winner({0: pair(40, 180), 1: pair(70, 100), 2: pair(39, 200)}, 0, margin=1.0) == 0
    assert winner({0: pair(40, 180), 1: pair(40, 180)}, 0, margin=1.0) == 0


def test_of_equals_the_nearer_attention_wins_then_the_first():
    scores = {0: pair(40, 180, 0.3), 1: pair(50, 180, 0.2), 2: pair(50, 180, 0.1), 3: pair(50, 180, 0.1)}
    assert winner(scores, 0, margin=1.0) == 2


def test_of_those_that_cannot_be_told_from_the_best_the_nearest_attention_wins():
    """The standard error of 60 of 100 is sqrt(0.6 * 0.4 / 100), 4.9 %."""
    scores = {0: pair(40, 180, 0.3), 1: pair(60, 180, 0.2), 2: pair(56, 180, 0.1), 3: pair(55, 180, 0.05)}
    assert as_good(scores, 0, margin=1.0) == [1, 2]
    assert winner(scores, 0, margin=1.0) == 2
    dear = scores | {2: pair(56, 100, 0.1)}  # the nearest one's others have paid for it
    assert winner(dear, 0, margin=1.0) == 1
    # The best that counts is one that may win: 90 would put 60 out of reach, and has lost the others.
    assert winner(scores | {4: pair(90, 100, 0.01)}, 0, margin=1.0) == 2


def test_attention_farther_from_peoples_edits_than_the_controls_does_not_win():
    control, far = pair(40, 180, 0.2), pair(90, 190, 0.21)
    assert losses(far, control, 1.0) == ["attention"]
    assert winner({0: control, 1: far}, 0, margin=1.0) == 0
    assert winner({0: control, 1: far, 2: pair(41, 179, 0.2)}, 0, margin=1.0) == 2
    assert losses(pair(90, 190, math.nan), control, 1.0) == ["attention"]
    assert losses(pair(90, 190), control, 1.0) == ["attention"]  # nobody knows how near it is


def test_near_attention_does_not_make_up_for_edited_classes_below_the_controls():
    """54 lies in the interval of 60, and is nearest; the control has 55."""
    scores = {0: pair(55, 180, 0.3), 1: pair(60, 180, 0.2), 2: pair(54, 180, 0.1)}
    assert losses(scores[2], scores[0], 1.0) == ["edited"]
    assert winner(scores, 0, margin=1.0) == 1


def test_everything_that_a_trial_is_worse_in_is_said():
    assert losses(pair(39, 177, 0.4), pair(40, 180, 0.3), 1.0) == ["edited", "other", "attention"]
    assert losses(pair(40, 178, 0.3), pair(40, 180, 0.3), 1.0) == []


def test_without_held_out_edits_the_highest_edited_wins_however_close():
    assert winner({0: pair(40, 180), 1: pair(59, 180), 2: pair(60, 180)}, 0, margin=1.0) == 2


def test_without_groups_the_highest_top1_wins():
    scores = {0: Score({"all": Share(5, 10)}), 1: Score({"all": Share(7, 10)}), 2: Score({"all": Share(7, 10)})}
    assert winner(scores, 0, margin=1.0) == 1
    assert front(scores) == [1, 2]


def test_a_rung_whose_others_have_fallen_ranks_below_every_rung_where_they_have_not():
    control = pair(40, 180)
    good, costly = pair(1, 178), pair(99, 177)
    assert rank_of(good, control, 1.0) == 1.0
    assert rank_of(costly, control, 1.0) < rank_of(good, control, 1.0)
    assert rank_of(costly, None, 1.0) == 99.0  # nothing is known to hold it against


def test_a_rung_whose_attention_is_lost_ranks_below_every_rung_where_it_is_not():
    control = pair(40, 180, 0.2)
    assert rank_of(pair(100, 200, 0.21), control, 1.0) < rank_of(pair(0, 180, 0.2), control, 1.0)
    assert rank_of(pair(100, 200, 0.21), None, 1.0) > 99.0
    # The widest it can be: one edited video, and distances 0 and 1.
    one = {hits: Score({"edited": Share(hits, 1), "other": Share(9, 9)}, Interval(1.0, 1.0, 1.0), 1) for hits in (0, 1)}
    held = Score(one[0].shares, Interval(0.0, 0.0, 0.0), 1)
    assert rank_of(one[1], held, 1.0) < rank_of(one[0], one[0], 1.0)


def test_the_number_of_a_rung_hides_no_video_behind_attention():
    """Of equals the nearer is first; a video more counts more than any distance."""
    assert rank_of(pair(50, 180, 0.1), None, 1.0) > rank_of(pair(50, 180, 0.2), None, 1.0)
    assert rank_of(pair(51, 180, 1.0), None, 1.0) > rank_of(pair(50, 180, 0.0), None, 1.0)
    assert rank_of(pair(50, 180, 0.5), None, 1.0) == pytest.approx(50 - 50 / 101)


def test_what_is_to_be_raised_has_attention_where_all_have_it():
    assert goods([pair(40, 180, 0.3), pair(50, 100, 0.1)]) == [(40.0, 90.0, -0.3), (50.0, 50.0, -0.1)]
    assert goods([pair(40, 180, 0.3), pair(50, 100)]) == [(40.0, 90.0), (50.0, 50.0)]
    assert goods([Score({"all": Share(5, 10)})]) == [(50.0,)]
    assert goods([]) == []
    # One whose distance nobody knows does not stand for the nearest of all.
    assert front({0: pair(40, 180, 0.3), 1: pair(39, 180)}) == [0]


def test_the_front_is_what_no_trial_beats():
    rng = random.Random(0)
    scores = {n: pair(rng.randint(30, 50), rng.randint(150, 170), rng.randint(1, 20) / 100) for n in range(40)}

    def goods(n):
        return scores[n].percent("edited"), scores[n].percent("other"), -scores[n].heldout.value

    beaten = {
        a
        for a, b in itertools.permutations(scores, 2)
        if goods(a) != goods(b) and all(y >= x for x, y in zip(goods(a), goods(b), strict=True))
    }
    found = front(scores)
    assert set(found) == set(scores) - beaten
    assert [goods(n)[0] for n in found] == sorted((goods(n)[0] for n in found), reverse=True)


def test_scores_are_the_integers_behind_the_percent():
    plain = score_of(Rung(step=1, epoch=1.0, metrics={"top1": 100 * 7 / 9}), videos=9)
    assert plain.shares == {"all": Share(7, 9)}
    metrics = {"top1": 50.0, "edited_hits": 3.0, "edited_videos": 4.0, "other_hits": 5.0, "other_videos": 12.0}
    found = score_of(Rung(step=1, epoch=1.0, metrics=metrics), videos=99)
    assert (found.shares, found.heldout) == ({"edited": Share(3, 4), "other": Share(5, 12)}, None)
    near = score_of(
        Rung(step=1, epoch=1.0, metrics=metrics | {"heldout_videos": 4.0, "heldout_mse": 0.2, "heldout_sd": 0.1}), 99
    )
    assert (near.heldout.value, near.heldout_videos) == (0.2, 4)
    assert near.heldout.high - near.heldout.low == pytest.approx(2 * 1.959964 * 0.1 / 2)
