"""What happened to retraining, line by line, and what people said: hold, override, roll back, leave a batch out.

Lines are written once; what is in force follows from the last line about a subject. Functions work in the transaction
at hand.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.core.errors import UserError, problem
from pipeline.retrain.tables import events


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line."""

    sequence: int
    at: str
    """UTC."""
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]

    @property
    def reason(self) -> str:
        """What a person gave as the reason; empty for what programs do."""
        return str(self.detail.get("reason", ""))


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A person's stop."""

    who: str
    reason: str
    since: str
    """UTC."""


def utc(at: float) -> str:
    """Return a time in seconds since 1970 as people read it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def append(connection: Connection, at: float, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
    """Add a line; writers take turns, so the number is free."""
    last = connection.scalar(sa.select(sa.func.max(events.c.sequence))) or 0
    row = {"sequence": last + 1, "at": at, "actor": actor, "action": action, "subject": subject, "detail": detail}
    connection.execute(events.insert().values(**row))


def say(
    connection: Connection, at: float, who: str, action: str, subject: str, reason: str, **detail: str | int
) -> None:
    """Add what a person decided, with details beside the reason.

    Raises:
        UserError: no name or no reason.
    """
    if not who.strip() or not reason.strip():
        fix = "give both, they stay on record"
        what = "A decision needs a name and a reason"
        raise UserError(problem(what, got=f"name {who!r}, reason {reason!r}", allowed="both", fix=fix))
    append(connection, at, who.strip(), action, subject, {"reason": reason.strip(), **detail})


def read(connection: Connection) -> list[Event]:
    """Return every line in order."""
    return [_event(row) for row in connection.execute(sa.select(events).order_by(events.c.sequence))]


def held(connection: Connection) -> Hold | None:
    """Return the hold in force."""
    last = _last(connection, ("hold", "release_hold"), "")
    return Hold(who=last.actor, reason=last.reason, since=last.at) if last and last.action == "hold" else None


def is_rolled_back(connection: Connection, plan_key: str) -> bool:
    """Return whether the last word on a plan was to roll it back."""
    last = _last(connection, ("roll_back", "override"), plan_key)
    return last is not None and last.action == "roll_back"


def unfinished_rollback(connection: Connection, model: str) -> int | None:
    """Return the version of a model that a person took back and whose alias may not have moved yet."""
    asked = sa.select(events).where(events.c.action.in_(("roll_back", "moved_back"))).order_by(events.c.sequence.desc())
    for event in map(_event, connection.execute(asked)):
        if event.detail["model"] == model:
            return int(event.detail["version"]) if event.action == "roll_back" else None
    return None


def overrides(connection: Connection, plan_key: str) -> list[Event]:
    """Return the overrides of a plan since it was last rolled back."""
    asked = events.c.action.in_(("roll_back", "override")) & (events.c.subject == plan_key)
    found = [_event(row) for row in connection.execute(sa.select(events).where(asked).order_by(events.c.sequence))]
    ended = max((event.sequence for event in found if event.action == "roll_back"), default=0)
    return [event for event in found if event.sequence > ended]


def batch_subject(model: str, batch: str) -> str:
    """Return how lines name a batch in relation to a model; batch ids hold no slash."""
    return f"{model}/{batch}"


def left_out(connection: Connection, model: str) -> dict[str, Event]:
    """Return the batches that are kept out of a model's coming plans, with the line that says so."""
    asked = sa.select(events).where(events.c.action.in_(("leave_out", "take_back"))).order_by(events.c.sequence)
    last: dict[str, Event] = {}
    for event in map(_event, connection.execute(asked)):
        of, _, batch = event.subject.rpartition("/")
        if of == model:
            last[batch] = event
    return {batch: event for batch, event in last.items() if event.action == "leave_out"}


def _last(connection: Connection, actions: tuple[str, ...], subject: str) -> Event | None:
    asked = sa.select(events).where(events.c.action.in_(actions) & (events.c.subject == subject))
    row = connection.execute(asked.order_by(events.c.sequence.desc()).limit(1)).first()
    return _event(row) if row else None


def _event(row: Any) -> Event:
    return Event(
        sequence=row.sequence,
        at=utc(row.at),
        actor=row.actor,
        action=row.action,
        subject=row.subject,
        detail=row.detail,
    )
