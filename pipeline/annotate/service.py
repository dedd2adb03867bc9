"""What every route works with: the store, pictures, what-if, who sends the request, and counts for the operator."""

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Annotated

import sqlalchemy as sa
from fastapi import Depends, Header, Request
from fastapi import Path as FromPath

from pipeline.annotate import people
from pipeline.annotate.database import Database
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.frames import Pictures
from pipeline.annotate.people import Person
from pipeline.annotate.security import Attempts
from pipeline.annotate.tables import items, tasks
from pipeline.annotate.whatif import WhatIfDesk

VERSION = "1"
"""Of the service and its answers."""
COOKIE = "star_session"
ID = r"^[A-Za-z0-9_-]{1,64}$"
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

UidPath = Annotated[str, FromPath(pattern=ID)]
OperationHeader = Annotated[str, Header(alias="Operation-Id", pattern=r"^[A-Za-z0-9_-]{8,64}$")]
LeaseHeader = Annotated[str, Header(alias="Lease-Token", pattern=r"^[A-Za-z0-9_-]{1,64}\.\d{1,9}$")]
VersionHeader = Annotated[str, Header(alias="If-Match", pattern=r'^("\d{1,9}"|\d{1,9})$')]


class Meter:
    """Counts requests and how long they took, by route."""

    def __init__(self) -> None:
        """Start at nothing."""
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._took: Counter[tuple[str, str, float]] = Counter()
        self._seconds: defaultdict[tuple[str, str], float] = defaultdict(float)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        with self._lock:
            self._answers[method, route, status] += 1
            self._seconds[method, route] += seconds
            for bucket in BUCKETS_S:
                self._took[method, route, bucket] += seconds <= bucket

    def text(self) -> list[str]:
        """Return the counts as lines of Prometheus text."""
        with self._lock:
            lines = ["# TYPE star_requests_total counter"]
            for (method, route, status), n in sorted(self._answers.items()):
                lines.append(f'star_requests_total{{method="{method}",route="{route}",status="{status}"}} {n}')
            lines.append("# TYPE star_request_seconds histogram")
            for (method, route), seconds in sorted(self._seconds.items()):
                where = f'method="{method}",route="{route}"'
                total = sum(n for (m, r, _), n in self._answers.items() if (m, r) == (method, route))
                for bucket in BUCKETS_S:
                    n = self._took[method, route, bucket]
                    lines.append(f'star_request_seconds_bucket{{{where},le="{bucket}"}} {n}')
                lines.append(f'star_request_seconds_bucket{{{where},le="+Inf"}} {total}')
                lines.append(f"star_request_seconds_sum{{{where}}} {seconds:.6f}")
                lines.append(f"star_request_seconds_count{{{where}}} {total}")
        return lines


@dataclass
class Service:
    """The parts of a running service."""

    database: Database
    pictures: Pictures
    batches: str
    """Folder of sealed batches, a path or URI."""
    whatif: WhatIfDesk | None = None
    session_s: float = people.SESSION_S
    secure: bool = False
    """People come by TLS: the cookie is sent over nothing else."""
    attempts: Attempts = field(default_factory=Attempts)
    meter: Meter = field(default_factory=Meter)

    def gauges(self) -> list[str]:
        """Return what the store holds as lines of Prometheus text."""
        now = self.database.clock()
        with self.database.read() as connection:
            states = sa.select(items.c.campaign, items.c.state, sa.func.count()).where(items.c.kind == "work")
            rows = connection.execute(states.group_by(items.c.campaign, items.c.state)).all()
            alive = (tasks.c.state == "open") & (tasks.c.expires > now)
            leases = connection.scalar(sa.select(sa.func.count()).select_from(tasks).where(alive))
        lines = ["# TYPE star_items gauge"]
        lines += [f'star_items{{campaign="{name}",state="{state}"}} {n}' for name, state, n in sorted(map(tuple, rows))]
        return [*lines, "# TYPE star_leases gauge", f"star_leases {leases}"]


# What needs no database runs on the event loop: a thread for it would cost more than it does.
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Here = Annotated[Service, Depends(_service)]


def _visitor(request: Request, service: Here) -> Person | None:
    token = request.cookies.get(COOKIE, "")
    if not token:
        return None
    now = service.database.clock()
    with service.database.read() as connection:
        person = people.session_of(connection, now, token, service.session_s)
    if person is not None and person.stale:
        with service.database.write() as connection:
            people.move_on(connection, now, token, service.session_s)
    return person


Visitor = Annotated[Person | None, Depends(_visitor)]


async def _signed_in(visitor: Visitor) -> Person:
    if visitor is None:
        raise RefusedError("signed_out", "sign in with your invitation")
    return visitor


Anyone = Annotated[Person, Depends(_signed_in)]


async def _reviewer(person: Anyone) -> Person:
    if not person.may("reviewer"):
        raise RefusedError("forbidden", "this is for reviewers")
    return person


async def _admin(person: Anyone) -> Person:
    if not person.may("admin"):
        raise RefusedError("forbidden", "this is for admins")
    return person


Reviewer = Annotated[Person, Depends(_reviewer)]
Admin = Annotated[Person, Depends(_admin)]
