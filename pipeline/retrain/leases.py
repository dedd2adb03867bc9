"""Leases with a fence: who may write, until another takes it. Functions work in the transaction at hand.

The fence is a number that grows with every lease of a name; a write checks that its lease has the newest. A lease that
lapsed and that nobody took may still write, which is safe for the same reason.
"""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.core.errors import problem
from pipeline.retrain.decisions import append, utc
from pipeline.retrain.errors import HeldError, LeaseLostError
from pipeline.retrain.tables import leases
from pipeline.train.lock import Holder, this_process


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to write."""

    name: str
    token: int
    """The fence."""
    holder: str
    seconds: float
    """How long it lasts from each renewal; afterwards others may take it."""


def take(connection: Connection, now: float, name: str, holder: str, seconds: float) -> Lease:
    """Take a lease that is free, lapsed, or held by a process that is certainly gone.

    Raises:
        HeldError: another holds it.
    """
    me, found = this_process(), _row(connection, name)
    is_held = found is not None and found.holder is not None and found.until > now
    if is_held and not Holder(**found.process).is_gone(me.place):
        got = f"{found.holder}, since {utc(found.since)}, until {utc(found.until)} unless renewed"
        fix = "wait for it; a dead job's lease is free at once on its own machine, elsewhere when it lapses"
        raise HeldError(problem(f"{name} is being retrained already", got=got, allowed="one job at a time", fix=fix))
    token = 1 if found is None else found.token + 1
    values = {"token": token, "holder": holder, "process": asdict(me), "since": now, "until": now + seconds}
    if found is None:
        connection.execute(leases.insert().values(name=name, **values))
    else:
        connection.execute(sa.update(leases).where(leases.c.name == name).values(**values))
    append(connection, now, holder, "lease", name, {"token": token, "seconds": seconds})
    return Lease(name=name, token=token, holder=holder, seconds=seconds)


def renew(connection: Connection, now: float, lease: Lease) -> None:
    """Let a lease last its seconds from now.

    Raises:
        LeaseLostError: another has taken it.
    """
    check(connection, lease)
    connection.execute(sa.update(leases).where(leases.c.name == lease.name).values(until=now + lease.seconds))


def give_back(connection: Connection, now: float, lease: Lease) -> None:
    """Free a lease.

    Raises:
        LeaseLostError: another has taken it.
    """
    check(connection, lease)
    connection.execute(sa.update(leases).where(leases.c.name == lease.name).values(holder=None, process=None))
    append(connection, now, lease.holder, "give_back", lease.name, {"token": lease.token})


def check(connection: Connection, lease: Lease) -> None:
    """Refuse what an older holder writes.

    Raises:
        LeaseLostError: the lease was given back, or another has taken it.
    """
    row = _row(connection, lease.name)
    if row is None or row.holder is None or row.token != lease.token:
        now = f"{row.holder or 'nobody'}, token {row.token}" if row else "nobody"
        raise LeaseLostError(f"lease {lease.name} is no longer {lease.holder}'s, token {lease.token}: now {now}")


def _row(connection: Connection, name: str) -> Any:
    return connection.execute(sa.select(leases).where(leases.c.name == name)).first()
