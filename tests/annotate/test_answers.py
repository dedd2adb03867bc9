"""Saves, submissions, flags and reviews, on SQLite and PostgreSQL."""

import threading

import pytest
import sqlalchemy as sa

from pipeline.annotate import answers, queue, views
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.operations import once
from pipeline.annotate.schema import Claim
from pipeline.annotate.schema_admin import Review
from pipeline.annotate.schema_items import DraftIn, Flag, Saved
from pipeline.annotate.tables import drafts, items, operations, submissions, tasks


class Desk:
    """What one person does at one store."""

    def __init__(self, database, person, campaign):
        self.database, self.person, self.campaign = database, person, campaign

    def take(self, **wish):
        with self.database.write() as connection:
            wish = Claim(campaign=self.campaign, tab="tab", **wish)
            self.lease = queue.claim(connection, self.database.clock(), self.person, wish)[0].lease
        with self.database.read() as connection:
            row = connection.execute(sa.select(items).where(items.c.uid == self.lease.item)).one()
        self.uid, self.frames = row.uid, row.num_frames
        return self

    def answer(self, level=0.5, frames=None, **values):
        frames = frames or self.frames
        source = None if level is None else "human"
        return DraftIn(
            **{"scores": [level] * frames, "sources": [source] * frames, "init": "blank", "seconds": 2, **values}
        )

    def _write(self, act, *args):
        with self.database.write() as connection:
            return act(connection, self.database.clock(), self.person.id, self.uid, self.lease.token, *args)[0]

    def save(self, version, answer=None):
        return self._write(answers.save, version, answer or self.answer())

    def submit(self, version=0, answer=None):
        return self._write(answers.submit, version, answer or self.answer())

    def flag(self, reason="wrong_label", note=""):
        return self._write(answers.flag, Flag(reason=reason, note=note))

    def item(self):
        with self.database.read() as connection:
            return views.item_for(connection, self.database.clock(), self.person, self.uid, "tab", whatif=False)


def refused(act, *args, **kwargs):
    with pytest.raises(RefusedError) as caught:
        act(*args, **kwargs)
    return caught.value.problem


@pytest.fixture
def desks(store, loaded, person_in):
    """A function that sits people down at a campaign of some settings."""

    def make(*roles, **settings):
        campaign = loaded(store, **settings)
        return [Desk(store, person_in(store, f"person {n}", role), campaign) for n, role in enumerate(roles)]

    return make


def test_every_save_moves_the_version_on_and_a_stale_one_is_told_what_is_there(desks):
    (ada,) = desks("annotator", double_share=0.0)
    ada.take()
    assert ada.item().draft.version == 0
    assert [ada.save(n).version for n in range(3)] == [1, 2, 3]
    problem = refused(ada.save, 2, ada.answer(1.0))
    assert problem.code == "stale"
    assert problem.draft.version == 3
    assert set(problem.draft.scores) == {0.5}
    assert refused(ada.submit, 0).code == "stale"
    assert ada.item().draft == problem.draft


def test_a_save_renews_the_lease(desks):
    (ada,) = desks("annotator")
    ada.take()
    for version in range(3):
        ada.database.clock.now += queue.LEASE_S - 1
        assert ada.save(version).expires == ada.database.clock.now + queue.LEASE_S


def test_an_answer_must_fit_the_video(desks):
    (ada,) = desks("annotator")
    ada.take()
    assert refused(ada.save, 0, ada.answer(frames=ada.frames + 1)).code == "length"
    cells = [{"frame": 0, "cells": [0.5] * 196}]
    assert refused(ada.save, 0, ada.answer(spatial=cells)).code == "length"


def test_submit_names_the_frames_without_a_level_and_keeps_nothing(desks):
    (ada,) = desks("annotator")
    ada.take()
    scores = [0.5] * ada.frames
    sources = ["human"] * ada.frames
    scores[3] = sources[3] = scores[5] = sources[5] = None
    problem = refused(ada.submit, 0, ada.answer(scores=scores, sources=sources))
    assert (problem.code, problem.frames) == ("unset_frames", [3, 5])
    assert ada.item().draft.version == 0


def test_a_single_answer_resolves_and_is_final(desks):
    (ada,) = desks("annotator", double_share=0.0)
    ada.take()
    assert ada.submit().state == "resolved"
    item = ada.item()
    assert (item.state, item.submitted, item.lease) == ("resolved", True, None)
    assert set(item.draft.scores) == {0.5}
    assert refused(ada.save, 1).code == "finished"
    assert refused(ada.submit, 1).code == "finished"
    assert refused(ada.flag).code == "finished"


def test_two_people_who_agree_resolve_and_never_see_each_other_before(desks):
    ada, ben = desks("annotator", "annotator", double_share=1.0)
    ada.take()
    first = ada.submit()
    assert (first.state, first.comparison) == ("needs_second", None)
    ben.take()
    assert ben.uid == ada.uid
    seen = ben.item()
    assert (seen.purpose, seen.opinions, seen.draft.version) == ("second", [], 0)
    assert seen.init_fixed
    assert seen.init != ada.item().init  # one of them started from the model's curve, the other blank
    second = ben.submit()
    assert second.state == "resolved"
    assert second.comparison.agreed
    assert second.comparison.distance == 0.0
    assert set(second.comparison.other.scores) == {0.5}


def test_nobody_gives_the_second_opinion_on_their_own_answer(desks):
    (ada,) = desks("annotator", double_share=1.0)
    seen = set()
    for _ in range(24):
        ada.take()
        assert ada.lease.purpose == "first"
        seen.add(ada.uid)
        ada.submit()
    assert len(seen) == 24
    with ada.database.write() as connection:
        wish = Claim(campaign=ada.campaign, tab="tab")
        assert queue.claim(connection, ada.database.clock(), ada.person, wish)[0].reason == "nothing_left"


def test_a_disagreement_goes_to_a_reviewer_who_sees_both(desks):
    ada, ben, eva = desks("annotator", "annotator", "reviewer", double_share=1.0)
    ada.take()
    ada.submit(0, ada.answer(0.0))
    ben.take()
    second = ben.submit(0, ben.answer(1.0))
    assert second.state == "adjudicate"
    assert (second.comparison.agreed, second.comparison.distance) == (False, 1.0)
    assert second.comparison.frames == list(range(ben.frames))
    eva.take(mode="adjudicate")
    opinions = eva.item().opinions
    assert [(set(one.scores), one.author) for one in opinions] == [({0.0}, ada.person.id), ({1.0}, ben.person.id)]
    assert eva.submit().state == "resolved"
    with ada.database.read() as connection:
        assert connection.scalar(sa.select(items.c.decision).where(items.c.uid == ada.uid)) == "adjudicated"


def test_practice_tells_the_truth_afterwards_and_counts_for_nothing_else(desks, truth_of):
    ada, ben = desks("annotator", "annotator", gold=1, practice_first=1, gold_share=0.0)
    for desk in (ada, ben):
        desk.take()
        assert desk.lease.purpose == "practice"
        answer = desk.submit(0, desk.answer(0.0))
        truth = truth_of(desk.frames)
        assert answer.comparison.distance == pytest.approx(truth.mean())
        assert answer.comparison.other.scores == truth.tolist()
        assert answer.comparison.other.author == "truth"
    assert ada.uid == ben.uid
    with ada.database.read() as connection:
        counted = views.progress(connection, ada.database.clock(), ada.person, ada.campaign)
    assert counted.items == 23
    assert counted.done == 0
    assert (counted.people[0].practice, counted.people[0].done) == (1, 0)


def test_a_flag_stops_the_item_and_a_reviewer_settles_it(desks):
    ada, ben, eva = desks("annotator", "annotator", "reviewer", double_share=1.0)
    ada.take()
    ada.submit()
    ben.take()
    assert ben.flag("broken_clip", "it is black").state == "flagged"
    assert refused(ben.submit).code == "finished"
    with ada.database.write() as connection:
        now = ada.database.clock()
        answers.review(connection, now, eva.person.id, ada.uid, Review(decision="return", note="it is not, look again"))
        row = views.listed(connection, [ada.uid])[0]
    assert (row.state, row.flag, row.answers) == ("open", "broken_clip", 0)
    ben.take()
    assert (ben.uid, ben.item().note) == (ada.uid, "it is not, look again")
    assert ben.submit().state == "needs_second"
    ada.take()
    assert ada.lease.purpose == "second"
    assert ada.submit().state == "resolved"
    with ada.database.read() as connection:  # all three answers are still on record
        assert len(connection.execute(sa.select(submissions).where(submissions.c.item == ada.uid)).all()) == 3
        states = connection.scalars(sa.select(tasks.c.state).where(tasks.c.item == ada.uid).order_by(tasks.c.id)).all()
    assert states == ["void", "void", "done", "done"]


def test_a_review_knows_what_it_cannot_do(desks):
    ada, eva = desks("annotator", "reviewer", gold=1, practice_first=1)

    def review(uid):
        with ada.database.write() as connection:
            answers.review(connection, 1.0, eva.person.id, uid, Review(decision="accept"))

    ada.take()
    assert refused(review, ada.uid).code == "conflict"  # practice
    ada.submit()
    ada.take()
    assert refused(review, ada.uid).code == "conflict"  # open
    assert refused(review, "none").code == "not_found"
    ada.flag()
    review(ada.uid)


def test_the_spatial_layer_is_kept_where_it_is_on(desks):
    (ada,) = desks("annotator", spatial=True)
    ada.take()
    item = ada.item()
    assert item.spatial
    assert [len(cells) for cells in item.spatial_attention] == [196] * ada.frames
    cells = [{"frame": 2, "cells": [1.0] * 98 + [0.0] * 98}]
    ada.save(0, ada.answer(spatial=cells))
    assert [one.model_dump() for one in ada.item().draft.spatial] == cells


def test_who_never_had_an_item_does_not_see_it(desks):
    ada, ben, eva = desks("annotator", "annotator", "reviewer", examples=1, double_share=0.0)
    ada.take()
    ben.uid = eva.uid = ada.uid
    assert refused(ben.item).code == "forbidden"
    ada.submit()
    assert refused(ben.item).code == "forbidden"
    assert eva.item().opinions[0].author == ada.person.id
    ben.uid = "none"
    assert refused(ben.item).code == "not_found"
    ada.take(label=0)
    example = ada.item().examples[0]
    assert example.caption == "the middle matters"
    ben.uid = example.uid
    assert ben.item().num_frames == example.num_frames


def test_a_repetition_answers_what_the_first_one_did_and_does_nothing(desks):
    (ada,) = desks("annotator")
    ada.take()

    def save(operation, request, act):
        return once(ada.database, ada.person.id, operation, "save", request, act, Saved)

    def act(connection):
        now = ada.database.clock()
        return answers.save(connection, now, ada.person.id, ada.uid, ada.lease.token, 0, ada.answer())

    first = save("operation-1", {"n": 1}, act)
    ada.database.clock.now += 5
    assert save("operation-1", {"n": 1}, act) == (first[0], True)
    assert refused(save, "operation-1", {"n": 2}, act).code == "operation_reused"
    assert refused(save, "operation-2", {"n": 1}, act).code == "stale"
    with ada.database.read() as connection:
        assert connection.scalar(sa.select(drafts.c.version)) == 1
        assert connection.scalars(sa.select(operations.c.operation)).all() == ["operation-1"]  # refusals are not kept


def test_copies_of_a_request_side_by_side_are_carried_out_once(desks):
    (ada,) = desks("annotator")
    ada.take()
    got, start = [], threading.Barrier(8)

    def act(connection):
        now = ada.database.clock()
        return answers.save(connection, now, ada.person.id, ada.uid, ada.lease.token, 0, ada.answer())

    def copy():
        start.wait()
        got.append(once(ada.database, ada.person.id, "operation-1", "save", {}, act, Saved))

    threads = [threading.Thread(target=copy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replayed for _, replayed in got) == [False] + [True] * 7
    assert {saved.version for saved, _ in got} == {1}
