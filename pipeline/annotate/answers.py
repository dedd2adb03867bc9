"""What people answer: saved drafts, submissions, flags, and what a reviewer decides.

An item goes open -> resolved, or, where two people are asked, open -> needs_second -> resolved when they agree and
-> adjudicate -> resolved when they do not; a flag stops it at flagged, a reviewer gives it back to open, and a batch
ends it at sealed. Answers are never changed: what is set aside stays in the record with its task void.
Locks are taken in one order, item before task before audit, so that no two requests wait for each other.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate import audit
from pipeline.annotate.campaign import CampaignSettings
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.importing import task_row
from pipeline.annotate.queue import LEASE_S, held
from pipeline.annotate.rules import SOURCES, Agreement, compare
from pipeline.annotate.schema_admin import Review
from pipeline.annotate.schema_items import Comparison, Draft, DraftIn, Flag, Opinion, Saved, Submitted
from pipeline.annotate.tables import campaigns, comparisons, drafts, flags, items, submissions, tasks

TRUTH = "truth"
"""Stands for the author of a practice clip's known answer."""


def draft_of(row: Any) -> Draft:
    """Return a row of `drafts` as the client knows it."""
    return Draft(version=row.version, saved=row.saved, **row.answer)


def _locked_item(connection: Connection, uid: str) -> Any:
    item = connection.execute(sa.select(items).where(items.c.uid == uid).with_for_update()).first()
    if item is None:
        raise RefusedError("not_found", "there is no such item")
    return item


def _settings(connection: Connection, campaign: str) -> CampaignSettings:
    facts = connection.execute(sa.select(campaigns.c.facts).where(campaigns.c.id == campaign)).scalar_one()
    return CampaignSettings(**facts["settings"])


def save(
    connection: Connection, now: float, user: str, uid: str, token: str, version: int, answer: DraftIn
) -> tuple[Saved, int | None]:
    """Keep a draft; also returns the task's number.

    Args:
        connection: of the transaction.
        now: seconds since 1970.
        user: who writes.
        uid: of the item.
        token: of the lease.
        version: of the draft that the person had before them.
        answer: the whole draft.

    Raises:
        RefusedError: lease_gone, finished, length, or stale with what the server holds.
    """
    task = held(connection, now, user, token, uid)
    facts = connection.execute(sa.select(items.c.num_frames, items.c.campaign).where(items.c.uid == uid)).one()
    _check(connection, answer, facts)
    newer = _keep(connection, now, task.id, user, version, answer)
    connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(expires=now + LEASE_S))
    return Saved(version=newer, saved=now, expires=now + LEASE_S), task.id


def _check(connection: Connection, answer: DraftIn, item: Any) -> None:
    if len(answer.scores) != item.num_frames or len(answer.sources) != item.num_frames:
        raise RefusedError("length", f"the video has {item.num_frames} frames, the answer {len(answer.scores)}")
    if answer.spatial and not _settings(connection, item.campaign).spatial:
        raise RefusedError("length", "this campaign has no spatial layer")


def _keep(connection: Connection, now: float, task: int, user: str, version: int, answer: DraftIn) -> int:
    where = (drafts.c.task == task) & (drafts.c.user == user)
    values = {"version": version + 1, "answer": answer.model_dump(), "saved": now}
    moved = sa.update(drafts).where(where & (drafts.c.version == version)).values(**values)
    if connection.execute(moved).rowcount:
        return version + 1
    found = connection.execute(sa.select(drafts).where(where)).first()
    if found is None and version == 0:
        connection.execute(drafts.insert().values(task=task, user=user, **values))
        return 1
    message = f"this answer continues version {version}; the server holds {found.version if found else 0}"
    raise RefusedError("stale", message, draft=draft_of(found) if found else None)


def submit(
    connection: Connection, now: float, user: str, uid: str, token: str, version: int, answer: DraftIn
) -> tuple[Submitted, int | None]:
    """Save a last time, finish the task and move the item on; arguments and refusals as of `save`, and unset_frames."""
    item = _locked_item(connection, uid)
    task = held(connection, now, user, token, uid)
    settings = _settings(connection, item.campaign)
    _check(connection, answer, item)
    unset = [frame for frame, score in enumerate(answer.scores) if score is None]
    if unset:
        raise RefusedError("unset_frames", f"{len(unset)} frames have no level", frames=unset)
    _keep(connection, now, task.id, user, version, answer)
    scores = [float(score) for score in answer.scores if score is not None]
    state, comparison, decision = item.state, None, ""
    if task.purpose == "practice":
        comparison = _with_truth(item, scores, settings)
    elif task.purpose == "second":
        comparison = _with_first(connection, item, scores, settings)
        state, decision = ("resolved", "agreed") if comparison.agreed else ("adjudicate", "")
    elif task.purpose == "adjudicate":
        state, decision = "resolved", "adjudicated"
    else:
        state, decision = ("needs_second", "") if item.double else ("resolved", "single")
    connection.execute(
        submissions.insert().values(
            task=task.id,
            item=uid,
            user=user,
            purpose=task.purpose,
            answer=answer.model_dump(),
            seconds=answer.seconds,
            distance=comparison.distance if comparison and task.purpose == "practice" else None,
            submitted=now,
        )
    )
    connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(state="done", expires=0.0))
    if task.purpose != "practice":
        _move(connection, item, state, decision)
    audit.append(connection, now, user, "submit", uid, {"purpose": task.purpose, "state": state, "version": version})
    return Submitted(state=state, comparison=comparison), task.id


def _move(connection: Connection, item: Any, state: str, decision: str) -> None:
    """Bring an item to its next state and open the task that this state asks for."""
    connection.execute(sa.update(items).where(items.c.uid == item.uid).values(state=state, decision=decision))
    if state == "needs_second":
        waiting = (tasks.c.item == item.uid) & (tasks.c.state == "waiting")
        connection.execute(sa.update(tasks).where(waiting).values(state="open"))
    elif state == "adjudicate":
        values = {"purpose": "adjudicate", "init": "blank", "init_fixed": False}
        connection.execute(tasks.insert().values(**task_row(item._mapping, values)))


def _with_truth(item: Any, scores: list[float], settings: CampaignSettings) -> Comparison:
    truth = Opinion(author=TRUTH, scores=item.truth, sources=[SOURCES[0]] * item.num_frames, init="blank", seconds=0.0)
    return _comparison(scores, truth, compare(scores, item.truth, settings.agree_distance))


def _with_first(connection: Connection, item: Any, scores: list[float], settings: CampaignSettings) -> Comparison:
    first = opinions_of(connection, item.uid)[0]
    agreement = compare(first.scores, scores, settings.agree_distance)
    values = {"kappa": agreement.kappa, "distance": agreement.distance, "agreed": agreement.agreed}
    connection.execute(comparisons.insert().values(item=item.uid, **values))
    return _comparison(scores, first, agreement)


def _comparison(scores: list[float], other: Opinion, agreement: Agreement) -> Comparison:
    differ = [frame for frame, (a, b) in enumerate(zip(scores, other.scores, strict=True)) if a != b]
    return Comparison(
        kappa=agreement.kappa, distance=agreement.distance, agreed=agreement.agreed, frames=differ, other=other
    )


def opinions_of(connection: Connection, uid: str) -> list[Opinion]:
    """Return the valid first and second opinions on an item, in this order."""
    asked = (
        sa.select(submissions)
        .join(tasks, tasks.c.id == submissions.c.task)
        .where((submissions.c.item == uid) & (tasks.c.state == "done"))
        .where(submissions.c.purpose.in_(["first", "second"]))
        .order_by(submissions.c.task)
    )
    return [
        Opinion(author=row.user, **{name: row.answer[name] for name in ("scores", "sources", "init", "seconds")})
        for row in connection.execute(asked)
    ]


def flag(
    connection: Connection, now: float, user: str, uid: str, token: str, wish: Flag
) -> tuple[Submitted, int | None]:
    """Take an item out of the queue for a reviewer to look at; a practice clip only ends for this person."""
    item = _locked_item(connection, uid)
    task = held(connection, now, user, token, uid)
    row = {"task": task.id, "item": uid, "user": user, "reason": wish.reason, "note": wish.note, "at": now}
    connection.execute(flags.insert().values(**row))
    state = item.state
    if task.purpose == "practice":
        connection.execute(sa.update(tasks).where(tasks.c.id == task.id).values(state="done", expires=0.0))
    else:
        state = "flagged"
        _set_aside(connection, uid)
        connection.execute(sa.update(items).where(items.c.uid == uid).values(state=state, decision=""))
    audit.append(connection, now, user, "flag", uid, {"reason": wish.reason})
    return Submitted(state=state, comparison=None), task.id


def _set_aside(connection: Connection, uid: str) -> None:
    """End every task of an item; whoever has it open finds the lease finished."""
    theirs = (tasks.c.item == uid) & (tasks.c.purpose != "practice")
    connection.execute(sa.update(tasks).where(theirs).values(state="void", expires=0.0))
    connection.execute(sa.delete(comparisons).where(comparisons.c.item == uid))


def review(connection: Connection, now: float, user: str, uid: str, wish: Review) -> None:
    """Settle a finished or flagged item, or give it back to the queue as if nobody had answered.

    Raises:
        RefusedError: not_found; finished, it is in a batch; conflict, people are still at it.
    """
    item = _locked_item(connection, uid)
    if item.kind != "work":
        raise RefusedError("conflict", "a practice clip has nothing to review")
    if item.state == "sealed":
        raise RefusedError("finished", "this item is in a batch")
    if item.state not in ("resolved", "flagged"):
        raise RefusedError("conflict", f"an item that is {item.state} cannot be reviewed yet")
    if wish.decision == "accept":
        connection.execute(sa.update(items).where(items.c.uid == uid).values(reviewed=True))
    else:
        asked = connection.execute(
            sa.select(tasks)
            .where((tasks.c.item == uid) & tasks.c.purpose.in_(["first", "second"]))
            .order_by(tasks.c.id)
            .limit(2 if item.double else 1)
        ).all()
        _set_aside(connection, uid)
        for old in asked:
            values = {"purpose": old.purpose, "init": old.init, "init_fixed": old.init_fixed}
            state = "waiting" if old.purpose == "second" else "open"
            connection.execute(tasks.insert().values(**task_row(item._mapping, {**values, "state": state})))
        back = {"state": "open", "decision": "", "reviewed": False, "note": wish.note}
        connection.execute(sa.update(items).where(items.c.uid == uid).values(**back))
    audit.append(connection, now, user, "review", uid, {"decision": wish.decision})
