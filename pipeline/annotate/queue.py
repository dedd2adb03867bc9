"""Who may write which item: claiming the next one, and leases with fencing tokens.

A task is one answer that somebody should give to an item. Its lease names a person and a tab and ends by itself; its
fence grows with every claim and takeover, so that a tab which lost the lease cannot write, whatever it believes.
The order is a round robin over classes: everybody's first choice of each class, then every second choice, and so on.
"""

import secrets
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate import audit
from pipeline.annotate.campaign import CampaignSettings
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.importing import task_row
from pipeline.annotate.people import Person
from pipeline.annotate.schema import Claim, Claimed, Lease
from pipeline.annotate.tables import campaigns, drafts, items, submissions, tasks

LEASE_S = 600.0
LEASES_EACH = 4
"""Two tabs, each with a clip at hand and the next one fetched ahead."""


def claim(connection: Connection, now: float, person: Person, wish: Claim) -> tuple[Claimed, int | None]:
    """Lease the next task to a person; also returns the task's number.

    Raises:
        RefusedError: not_found, no such campaign; forbidden, adjudication by an annotator.
    """
    facts = connection.scalar(sa.select(campaigns.c.facts).where(campaigns.c.id == wish.campaign))
    if facts is None:
        raise RefusedError("not_found", "there is no such campaign")
    if wish.mode == "adjudicate" and not person.may("reviewer"):
        raise RefusedError("forbidden", "only reviewers adjudicate")
    if connection.dialect.name == "postgresql":  # so that a person's claims are counted one after the other
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(7318042, sa.func.hashtext(person.id))))
    alive = (tasks.c.holder == person.id) & (tasks.c.state == "open") & (tasks.c.expires > now)
    if len(connection.execute(sa.select(tasks.c.id).where(alive)).all()) >= LEASES_EACH:
        return Claimed(lease=None, reason="too_many_leases"), None
    task = None
    if wish.mode == "annotate" and wish.label is None:
        _offer_practice(connection, person.id, wish.campaign, CampaignSettings(**facts["settings"]))
        task = _take(connection, now, person.id, wish, practice=True)
    task = task or _take(connection, now, person.id, wish, practice=False)
    if task is None:
        return Claimed(lease=None, reason="nothing_left"), None
    detail = {"lease": task.lease, "fence": task.fence, "purpose": task.purpose}
    audit.append(connection, now, person.id, "claim", task.item, detail)
    return Claimed(lease=_lease(task), reason=""), task.id


def _take(connection: Connection, now: float, user: str, wish: Claim, *, practice: bool) -> Any:
    """Lease the first free task in one statement, or return None."""
    mine = tasks.alias("mine")
    done_by_me = sa.exists().where((mine.c.item == tasks.c.item) & (mine.c.state == "done") & (mine.c.holder == user))
    begun_by_me = sa.exists().where((drafts.c.task == tasks.c.id) & (drafts.c.user == user))
    purposes = ["practice"] if practice else ["adjudicate"] if wish.mode == "adjudicate" else ["first", "second"]
    wanted = [
        tasks.c.campaign == wish.campaign,
        tasks.c.state == "open",
        tasks.c.purpose.in_(purposes),
        sa.or_(tasks.c.only.is_(None), tasks.c.only == user),
        tasks.c.expires <= now,
        ~done_by_me,
    ]
    if wish.label is not None:
        wanted.append(tasks.c.label == wish.label)
    order = (sa.case((begun_by_me, 0), else_=1), tasks.c.turn, tasks.c.priority.desc(), tasks.c.id)
    # SQLite has one writer and ignores the lock; PostgreSQL's claims pass over the tasks that others are claiming.
    next_one = sa.select(tasks.c.id).where(*wanted).order_by(*order).limit(1).with_for_update(skip_locked=True)
    values = {"holder": user, "tab": wish.tab, "lease": secrets.token_hex(12), "expires": now + LEASE_S}
    taken = sa.update(tasks).where(tasks.c.id == next_one.scalar_subquery())
    return connection.execute(taken.values(**values, fence=tasks.c.fence + 1).returning(*tasks.c)).first()


def _offer_practice(connection: Connection, user: str, campaign: str, settings: CampaignSettings) -> None:
    """Make a practice task when one is due: some before the first real clip, then a share of the clips done."""
    given = sa.select(tasks.c.item, tasks.c.state).where(
        (tasks.c.campaign == campaign) & (tasks.c.purpose == "practice") & (tasks.c.only == user)
    )
    practised = {row.item: row.state for row in connection.execute(given)}
    if "open" in practised.values():
        return
    work = (submissions.c.user == user) & (submissions.c.purpose != "practice")
    done = connection.scalar(
        sa.select(sa.func.count())
        .select_from(submissions.join(tasks, tasks.c.id == submissions.c.task))
        .where(work & (tasks.c.campaign == campaign))
    )
    if len(practised) >= settings.practice_first + int((done or 0) * settings.gold_share):
        return
    gold = sa.select(items).where((items.c.campaign == campaign) & (items.c.kind == "gold"))
    for row in connection.execute(gold.order_by(items.c.turn, items.c.label, items.c.uid)).mappings():
        if row["uid"] not in practised:
            values = {"purpose": "practice", "only": user, "init": settings.init, "init_fixed": False}
            connection.execute(tasks.insert().values(**task_row(dict(row), values)))
            return


def _lease(task: Any, *, secret: bool = False) -> Lease:
    return Lease(
        id=task.lease,
        token="" if secret else f"{task.lease}.{task.fence}",
        item=task.item,
        campaign=task.campaign,
        purpose=task.purpose,
        tab=task.tab,
        expires=task.expires,
    )


def leases_of(connection: Connection, now: float, user: str) -> list[Lease]:
    """Return a person's living leases, without what one could write with."""
    alive = (tasks.c.holder == user) & (tasks.c.state == "open") & (tasks.c.expires > now)
    return [_lease(row, secret=True) for row in connection.execute(sa.select(tasks).where(alive).order_by(tasks.c.id))]


def lease_for(task: Any, tab: str) -> Lease:
    """Return a task's lease as its holder sees it from a tab."""
    return _lease(task, secret=task.tab != tab)


def held(connection: Connection, now: float, user: str, token: str, item: str | None = None) -> Any:
    """Return the task that a token may write, locked until the end of the transaction.

    Args:
        connection: of the transaction.
        now: seconds since 1970.
        user: who asks.
        token: of the lease.
        item: which item is meant; None where the lease alone counts.

    Raises:
        RefusedError: lease_gone, with who has it; finished, when the answer was given.
    """
    lease, _, fence = token.rpartition(".")
    task = connection.execute(sa.select(tasks).where(tasks.c.lease == lease).with_for_update()).first()
    if task is None or task.holder != user or item not in (None, task.item):
        raise RefusedError("lease_gone", "this clip went to somebody else or was given back", holder="other")
    if task.state != "open":
        raise RefusedError("finished", "this clip has its answer")
    if str(task.fence) != fence:
        raise RefusedError("lease_gone", "another tab of yours took this clip over", holder="you")
    if task.expires <= now:
        raise RefusedError("lease_gone", "the lease of this clip ran out; take it over again", holder="nobody")
    return task


def renew(connection: Connection, now: float, user: str, token: str) -> Lease:
    """Let a lease end later."""
    task = held(connection, now, user, token)
    return _lease(_set(connection, task.id, expires=now + LEASE_S))


def takeover(connection: Connection, now: float, user: str, lease: str, tab: str) -> Lease:
    """Move a person's lease to another tab, or revive a lapsed one that nobody else has claimed since."""
    task = connection.execute(sa.select(tasks).where(tasks.c.lease == lease).with_for_update()).first()
    if task is None or task.holder != user:
        raise RefusedError("lease_gone", "this clip went to somebody else or was given back", holder="other")
    if task.state != "open":
        raise RefusedError("finished", "this clip has its answer")
    moved = _set(connection, task.id, tab=tab, fence=tasks.c.fence + 1, expires=now + LEASE_S)
    audit.append(connection, now, user, "takeover", task.item, {"lease": lease, "fence": moved.fence})
    return _lease(moved)


def release(connection: Connection, now: float, user: str, token: str) -> None:
    """Give a lease back; the draft stays, and one that is gone already is no error."""
    try:
        task = held(connection, now, user, token)
    except RefusedError:
        return
    _set(connection, task.id, holder=None, lease=None, tab=None, expires=0.0)
    audit.append(connection, now, user, "release", task.item, {"lease": task.lease})


def _set(connection: Connection, task: int, **values: Any) -> Any:
    changed = sa.update(tasks).where(tasks.c.id == task).values(**values)
    return connection.execute(changed.returning(*tasks.c)).one()
