"""People: invitations, sessions, roles. A token is 256 random bits; the store keeps its SHA-256 alone."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate import audit
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.schema import Language, Me, Preferences, Role
from pipeline.annotate.schema_admin import Invitation, UserChange, UserRow
from pipeline.annotate.tables import tasks, tokens, users

INVITATION_S = 14 * 86_400.0
SESSION_S = 12 * 3600.0
RANK: dict[str, int] = {"annotator": 0, "reviewer": 1, "admin": 2}


@dataclass(frozen=True)
class Person:
    """Who sends a request."""

    id: str
    name: str
    role: Role
    language: Language
    settings: dict[str, str]
    expires: float
    stale: bool
    """The session has run for a while since its end was moved on."""

    def me(self) -> Me:
        """Return what the person may know of oneself: everything."""
        return Me(
            id=self.id,
            name=self.name,
            role=self.role,
            language=self.language,
            settings=self.settings,
            expires=self.expires,
        )

    def may(self, role: Role) -> bool:
        """Say whether the person has this role or a higher one."""
        return RANK[self.role] >= RANK[role]


def invite(
    connection: Connection, now: float, actor: str, name: str, role: Role, language: Language = "en"
) -> Invitation:
    """Add a person and return the invitation, whose token is never shown again."""
    user = "p" + secrets.token_hex(8)
    row = {"id": user, "name": name, "role": role, "language": language, "settings": {}, "active": True}
    connection.execute(users.insert().values(**row, created=now))
    invitation = _invitation(connection, now, user)
    audit.append(connection, now, actor, "invite", user, {"role": role})
    return invitation


def invite_again(connection: Connection, now: float, actor: str, user: str) -> Invitation:
    """Return a new invitation for a known person; older ones end."""
    if connection.scalar(sa.select(users.c.active).where(users.c.id == user)) is None:
        raise RefusedError("not_found", "there is no such person")
    _end_invitations(connection, user)
    invitation = _invitation(connection, now, user)
    audit.append(connection, now, actor, "invite_again", user)
    return invitation


def revoke(connection: Connection, now: float, actor: str, user: str) -> None:
    """End a person's invitations; a session that runs goes on. None to end is no error."""
    if connection.scalar(sa.select(users.c.id).where(users.c.id == user)) is None:
        raise RefusedError("not_found", "there is no such person")
    if _end_invitations(connection, user):
        audit.append(connection, now, actor, "revoke", user)


def _end_invitations(connection: Connection, user: str) -> int:
    ended = sa.delete(tokens).where((tokens.c.user == user) & (tokens.c.kind == "invitation"))
    return connection.execute(ended).rowcount


def _invitation(connection: Connection, now: float, user: str) -> Invitation:
    token = _add_token(connection, now, user, "invitation", INVITATION_S)
    return Invitation(user=user, token=token, path=f"/#invite={token}", expires=now + INVITATION_S)


def _add_token(connection: Connection, now: float, user: str, kind: str, life_s: float) -> str:
    token = secrets.token_urlsafe(32)
    row = {"hash": _hash(token), "user": user, "kind": kind, "created": now, "expires": now + life_s}
    connection.execute(tokens.insert().values(**row))
    return token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def sign_in(connection: Connection, now: float, token: str, session_s: float = SESSION_S) -> tuple[str, Person]:
    """Exchange an invitation's token for that of a new session.

    Raises:
        RefusedError: bad_invitation.
    """
    found = _find(connection, now, token, "invitation")
    if found is None:
        raise RefusedError(
            "bad_invitation", "this invitation is unknown, has expired or was revoked; ask for a new one"
        )
    gone = (tokens.c.user == found.id) & (tokens.c.expires < now)
    connection.execute(sa.delete(tokens).where(gone))
    session = _add_token(connection, now, found.id, "session", session_s)
    connection.execute(sa.update(users).where(users.c.id == found.id).values(seen=now))
    audit.append(connection, now, found.id, "sign_in", found.id)
    return session, _person(found, now + session_s, stale=False)


def _find(connection: Connection, now: float, token: str, kind: str) -> Any:
    where = (tokens.c.hash == _hash(token)) & (tokens.c.kind == kind) & (tokens.c.expires > now) & users.c.active
    columns = (users, tokens.c.expires)
    return connection.execute(sa.select(*columns).join(tokens, tokens.c.user == users.c.id).where(where)).first()


def _person(row: Any, expires: float, *, stale: bool) -> Person:
    return Person(row.id, row.name, row.role, row.language, row.settings, expires, stale)


def session_of(connection: Connection, now: float, token: str, session_s: float = SESSION_S) -> Person | None:
    """Return who has this session; None when it ended or never was."""
    found = _find(connection, now, token, "session")
    if found is None:
        return None
    return _person(found, found.expires, stale=found.expires - now < session_s * 0.95)


def move_on(connection: Connection, now: float, token: str, session_s: float = SESSION_S) -> None:
    """Let a session end later, since it is in use."""
    mine = tokens.c.hash == _hash(token)
    connection.execute(sa.update(tokens).where(mine).values(expires=now + session_s))
    owner = sa.select(tokens.c.user).where(mine).scalar_subquery()
    connection.execute(sa.update(users).where(users.c.id == owner).values(seen=now))


def sign_out(connection: Connection, now: float, person: Person, token: str) -> None:
    """End a session."""
    connection.execute(sa.delete(tokens).where(tokens.c.hash == _hash(token)))
    audit.append(connection, now, person.id, "sign_out", person.id)


def prefer(connection: Connection, person: Person, wish: Preferences) -> Me:
    """Change a person's language or page settings."""
    values: dict[str, Any] = {k: v for k, v in wish.model_dump().items() if v is not None}
    if values:
        connection.execute(sa.update(users).where(users.c.id == person.id).values(**values))
    return person.me().model_copy(update=values)


def listed(connection: Connection, now: float) -> list[UserRow]:
    """Return everybody, in the order of arrival."""
    serves = (tokens.c.user == users.c.id) & (tokens.c.kind == "invitation") & (tokens.c.expires > now)
    invited = sa.select(sa.func.max(tokens.c.expires)).where(serves).scalar_subquery().label("invited")
    columns = [users.c[name] for name in UserRow.model_fields if name != "invited"]
    found = connection.execute(sa.select(*columns, invited).order_by(users.c.created, users.c.id)).mappings()
    return [UserRow(**row) for row in found]


def change(connection: Connection, now: float, actor: str, user: str, wish: UserChange) -> UserRow:
    """Change a person's role, or whether they take part; leaving ends their sessions, invitations and leases."""
    values: dict[str, Any] = {k: v for k, v in wish.model_dump().items() if v is not None}
    if user == actor and values:
        raise RefusedError("conflict", "nobody changes their own role; ask another admin")
    if values:
        connection.execute(sa.update(users).where(users.c.id == user).values(**values))
    if wish.active is False:
        connection.execute(sa.delete(tokens).where(tokens.c.user == user))
        held = (tasks.c.holder == user) & (tasks.c.state == "open")
        connection.execute(sa.update(tasks).where(held).values(holder=None, lease=None, expires=0.0))
    rows = [row for row in listed(connection, now) if row.id == user]
    if not rows:
        raise RefusedError("not_found", "there is no such person")
    if values:
        audit.append(connection, now, actor, "change_user", user, values)
    return rows[0]
