"""Claims, leases and fences, on SQLite and PostgreSQL."""

import threading
from collections import Counter

import pytest
import sqlalchemy as sa

from pipeline.annotate import answers, audit, queue
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.queue import LEASE_S, LEASES_EACH
from pipeline.annotate.schema import Claim
from pipeline.annotate.schema_items import DraftIn
from pipeline.annotate.tables import items, tasks


def take(database, person, campaign, tab="tab", **wish):
    with database.write() as connection:
        return queue.claim(connection, database.clock(), person, Claim(campaign=campaign, tab=tab, **wish))[0].lease


def answer_for(database, uid, level=0.5):
    with database.read() as connection:
        frames = connection.scalar(sa.select(items.c.num_frames).where(items.c.uid == uid))
    return DraftIn(scores=[level] * frames, sources=["human"] * frames, init="blank", seconds=3.0)


def finish(database, person, lease, level=0.5):
    answer = answer_for(database, lease.item, level)
    with database.write() as connection:
        now = database.clock()
        return answers.submit(connection, now, person.id, lease.item, lease.token, 0, answer)[0]


def refused(act, *args, **kwargs):
    with pytest.raises(RefusedError) as caught:
        act(*args, **kwargs)
    return caught.value.problem


def with_write(database, act, *args):
    with database.write() as connection:
        return act(connection, database.clock(), *args)


def test_claims_go_round_the_classes_by_priority(store, loaded, person_in):
    campaign, person = loaded(store, double_share=0.0), person_in(store)
    with store.read() as connection:
        facts = {row.uid: row for row in connection.execute(sa.select(items))}
    served = []
    while lease := take(store, person, campaign):
        served.append(facts[lease.item])
        finish(store, person, lease)
    assert len({item.uid for item in served}) == len(served) == 24
    for start in range(0, 24, 3):
        assert {item.label for item in served[start : start + 3]} == {0, 1, 2}
    for label in range(3):
        priorities = [item.priority for item in served if item.label == label]
        assert priorities == sorted(priorities, reverse=True)


def test_one_class_can_be_asked_for(store, loaded, person_in):
    campaign, person = loaded(store, double_share=0.0, gold=2), person_in(store)
    served = []
    while lease := take(store, person, campaign, label=1):
        served.append(lease.item)
        finish(store, person, lease)
    with store.read() as connection:
        work = (items.c.label == 1) & (items.c.kind == "work")
        assert sorted(served) == sorted(connection.scalars(sa.select(items.c.uid).where(work)))


def test_a_leased_item_is_nobody_elses_until_the_lease_ends(store, loaded, person_in):
    campaign = loaded(store, double_share=0.0)
    ada, ben = person_in(store, "Ada"), person_in(store, "Ben")
    first, other = take(store, ada, campaign), take(store, ben, campaign)
    assert first.item != other.item
    store.clock.now += LEASE_S - 1
    with_write(store, queue.renew, ben.id, other.token)
    store.clock.now += 2
    again = take(store, ben, campaign)
    assert again.item == first.item  # Ada's lease ran out; Ben's own was renewed
    assert refused(with_write, store, queue.renew, ada.id, first.token).holder == "other"
    assert with_write(store, queue.renew, ben.id, again.token).expires == store.clock.now + LEASE_S


def test_a_lapsed_lease_cannot_write_but_can_be_revived_until_somebody_else_claims(store, loaded, person_in):
    campaign, ada = loaded(store), person_in(store)
    lease = take(store, ada, campaign)
    store.clock.now += LEASE_S
    problem = refused(finish, store, ada, lease)
    assert (problem.code, problem.holder) == ("lease_gone", "nobody")
    revived = with_write(store, queue.takeover, ada.id, lease.id, "tab")
    assert revived.token != lease.token
    finish(store, ada, revived)


def test_a_takeover_fences_the_old_tab(store, loaded, person_in):
    campaign, ada, ben = loaded(store), person_in(store), person_in(store, "Ben")
    lease = take(store, ada, campaign, tab="one")
    assert refused(with_write, store, queue.takeover, ben.id, lease.id, "two").code == "lease_gone"
    moved = with_write(store, queue.takeover, ada.id, lease.id, "two")
    assert (moved.id, moved.item, moved.tab) == (lease.id, lease.item, "two")
    problem = refused(finish, store, ada, lease)
    assert (problem.code, problem.holder) == ("lease_gone", "you")
    with_write(store, queue.release, ada.id, lease.token)  # the old tab closes; it has nothing to give back
    finish(store, ada, moved)
    assert refused(with_write, store, queue.renew, ada.id, moved.token).code == "finished"


def test_what_is_given_back_is_free(store, loaded, person_in):
    campaign, ada, ben = loaded(store, double_share=0.0), person_in(store), person_in(store, "Ben")
    lease = take(store, ada, campaign)
    with_write(store, queue.release, ada.id, lease.token)
    with_write(store, queue.release, ada.id, lease.token)
    assert take(store, ben, campaign).item == lease.item
    assert refused(with_write, store, queue.takeover, ada.id, lease.id, "tab").holder == "other"


def test_an_own_draft_comes_back_first(store, loaded, person_in):
    campaign, ada = loaded(store, double_share=0.0), person_in(store)
    later = take(store, ada, campaign, label=2)
    now, answer = store.clock(), answer_for(store, later.item)
    with store.write() as connection:
        answers.save(connection, now, ada.id, later.item, later.token, 0, answer)
    with_write(store, queue.release, ada.id, later.token)
    assert take(store, ada, campaign).item == later.item


def test_a_person_holds_a_few_leases_at_most(store, loaded, person_in):
    campaign, ada = loaded(store), person_in(store)
    assert len({take(store, ada, campaign).item for _ in range(LEASES_EACH)}) == LEASES_EACH
    with store.write() as connection:
        claimed, _ = queue.claim(connection, store.clock(), ada, Claim(campaign=campaign, tab="tab"))
    assert (claimed.lease, claimed.reason) == (None, "too_many_leases")
    with store.read() as connection:
        mine = queue.leases_of(connection, store.clock(), ada.id)
    assert len(mine) == LEASES_EACH
    assert {lease.token for lease in mine} == {""}


def test_practice_comes_first_and_in_between(store, loaded, person_in):
    campaign = loaded(store, gold=3, double_share=0.0, practice_first=2, gold_share=0.1)
    ada, ben = person_in(store), person_in(store, "Ben")
    for person in (ada, ben):
        served = []
        for _ in range(13):
            lease = take(store, person, campaign)
            if lease is None:
                break
            served.append(lease.purpose)
            finish(store, person, lease)
        expected = ["practice"] * 2 + ["first"] * 10 + ["practice"] if person is ada else ["practice"] * 2
        assert served[: len(expected)] == expected


def test_adjudication_is_for_reviewers(store, loaded, person_in):
    campaign = loaded(store, double_share=1.0)
    ada, ben, eva = person_in(store), person_in(store, "Ben"), person_in(store, "Eva", "reviewer")
    assert refused(take, store, ada, campaign, mode="adjudicate").code == "forbidden"
    assert take(store, eva, campaign, mode="adjudicate") is None
    lease = take(store, ada, campaign)
    finish(store, ada, lease, 0.0)
    second = take(store, ben, campaign)
    assert (second.item, second.purpose) == (lease.item, "second")
    assert finish(store, ben, second, 1.0).state == "adjudicate"
    assert take(store, eva, campaign, mode="adjudicate").item == lease.item


def test_unknown_campaigns_and_tokens(store, loaded, person_in):
    loaded(store)
    ada = person_in(store)
    assert refused(take, store, ada, "none").code == "not_found"
    for token in ("x.1", "none", ".", "x."):
        assert refused(with_write, store, queue.renew, ada.id, token).code == "lease_gone"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_race_of_many_gives_no_item_twice(kind, new_database, loaded, person_in):
    from pipeline.annotate.database import Database

    database = Database(new_database(kind))
    campaign = loaded(database, double_share=0.25)
    people = [person_in(database, f"person {n}") for n in range(16)]
    got, problems = Counter(), []
    start = threading.Barrier(len(people))

    def work(person):
        start.wait()
        try:
            while lease := take(database, person, campaign):
                got[lease.item, lease.purpose] += 1
                finish(database, person, lease)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(person,)) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert set(got.values()) == {1}
    assert sum(purpose == "first" for _, purpose in got) == 24
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.max(tasks.c.fence))) == 1
        assert audit.intact(audit.read(connection))
    database.close()
