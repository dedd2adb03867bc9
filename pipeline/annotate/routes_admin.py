"""Routes of reviewers and admins: lists, review, batches, the record, people."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response

from pipeline.annotate import answers, audit, people, sealing, views
from pipeline.annotate.batches import MANIFEST
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.schema import State
from pipeline.annotate.schema_admin import (
    Audit,
    BatchRow,
    Invitation,
    Invite,
    Items,
    ListedItem,
    Page,
    Review,
    Seal,
    Sealed,
    UserChange,
    UserRow,
)
from pipeline.annotate.service import Admin, Here, Reviewer, UidPath
from pipeline.annotate.tables import batches
from pipeline.core import storage

router = APIRouter()
BIG = 2**31 - 1
Label = Annotated[int | None, Query(ge=0, le=BIG)]
After = Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
Sequence = Annotated[int, Query(ge=0, le=BIG)]


@router.get("/campaigns/{campaign}/items")
def items_of(
    campaign: UidPath,
    person: Reviewer,
    service: Here,
    state: State | None = None,
    label: Label = None,
    after: After = "",
) -> Items:
    """List a campaign's items."""
    with service.database.read() as connection:
        return views.items_of(connection, campaign, state, label, after)


@router.post("/items/{uid}/review")
def review(uid: UidPath, wish: Review, person: Reviewer, service: Here) -> ListedItem:
    """Settle an item or give it back."""
    with service.database.write() as connection:
        answers.review(connection, service.database.clock(), person.id, uid, wish)
        return views.listed(connection, [uid])[0]


@router.post("/batches")
def seal(wish: Seal, person: Admin, service: Here) -> Sealed:
    """Seal everything that is resolved."""
    manifest = sealing.seal(service.database, wish.campaign, service.batches, person.id)
    return Sealed(batch=manifest["batch"] if manifest else "", manifest=manifest)


@router.get("/batches")
def all_batches(person: Reviewer, service: Here) -> list[BatchRow]:
    """List the sealed batches, the newest first."""
    with service.database.read() as connection:
        rows = connection.execute(sa.select(batches).order_by(batches.c.sealed.desc(), batches.c.id)).all()
    same = ("id", "campaign", "sequence", "items", "sealed")
    return [BatchRow(**{n: getattr(row, n) for n in same}, published=row.manifest is not None) for row in rows]


@router.get(
    "/batches/{batch}/manifest", response_class=Response, responses={200: {"content": {"application/json": {}}}}
)
def manifest(batch: UidPath, person: Reviewer, service: Here) -> Response:
    """Return a manifest as it was sealed."""
    with service.database.read() as connection:
        known = connection.execute(sa.select(batches.c.manifest).where(batches.c.id == batch)).first()
    if known is None or known.manifest is None:
        raise RefusedError("not_found", "there is no such batch")
    data = storage.read_bytes(storage.join(service.batches, batch, MANIFEST))
    return Response(data, media_type="application/json")


@router.get("/audit")
def record(person: Admin, service: Here, after: Sequence = 0, limit: Page = 100) -> Audit:
    """Read the append-only record."""
    with service.database.read() as connection:
        before = audit.read(connection, after - 1, 1) if after else []
        rows = audit.read(connection, after, limit)
    return Audit(rows=rows, intact=audit.intact(rows, before[0] if before else None) if rows else True)


@router.get("/users")
def everybody(person: Admin, service: Here) -> list[UserRow]:
    """List everybody."""
    with service.database.read() as connection:
        return people.listed(connection, service.database.clock())


@router.post("/users")
def invite(wish: Invite, person: Admin, service: Here) -> Invitation:
    """Add a person."""
    with service.database.write() as connection:
        now = service.database.clock()
        return people.invite(connection, now, person.id, wish.name, wish.role, wish.language)


@router.patch("/users/{user}")
def change(user: UidPath, wish: UserChange, person: Admin, service: Here) -> UserRow:
    """Change a person's role, or whether they take part."""
    with service.database.write() as connection:
        return people.change(connection, service.database.clock(), person.id, user, wish)


@router.post("/users/{user}/invitation")
def invite_again(user: UidPath, person: Admin, service: Here) -> Invitation:
    """Make a new invitation; older ones end."""
    with service.database.write() as connection:
        return people.invite_again(connection, service.database.clock(), person.id, user)


@router.delete("/users/{user}/invitation", status_code=204)
def revoke(user: UidPath, person: Admin, service: Here) -> None:
    """End a person's invitations."""
    with service.database.write() as connection:
        people.revoke(connection, service.database.clock(), person.id, user)
