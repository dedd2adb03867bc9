"""What reviewers and admins say to the annotation service and hear from it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.annotate.schema import Answer, Id, Language, Name, Request, Role, State, Text


class Review(Request):
    """POST /items/{uid}/review."""

    decision: Literal["accept", "return"]
    """return: all answers to this item are set aside (kept in the record) and it is open again, with the note.
    accept: a flagged item is settled as flagged; a resolved one is marked as looked at."""
    note: Text = ""


class ListedItem(Answer):
    """A row of GET /campaigns/{campaign}/items."""

    uid: str
    label: int
    state: State
    num_frames: int
    width: int
    height: int
    content: str
    """Digest of the pictures, as in `Item`."""
    answers: int
    flag: str
    """Reason of the newest flag, or empty."""
    flag_note: str
    """What its author wrote."""
    reviewed: bool
    """A reviewer accepted it as it is."""
    note: str
    """Of the reviewer who gave it back."""
    kappa: float | None
    distance: float | None
    batch: str


class Items(Answer):
    """GET /campaigns/{campaign}/items."""

    items: list[ListedItem]
    after: str
    """Pass as `after` for the next page; empty on the last."""


class Seal(Request):
    """POST /batches."""

    campaign: Id


class BatchRow(Answer):
    """A row of GET /batches."""

    id: str
    campaign: str
    sequence: int
    """1 for the campaign's first batch."""
    items: int
    sealed: float
    published: bool
    """The manifest is in its place."""


class Sealed(Answer):
    """Answer of POST /batches."""

    batch: str
    """Empty: nothing was resolved and not yet in a batch."""
    manifest: dict[str, Any] | None


class Invite(Request):
    """POST /users."""

    name: Name
    role: Role = "annotator"
    language: Language = "en"


class Invitation(Answer):
    """Shown once; the store keeps a hash alone."""

    user: str
    token: str
    path: str
    """`/#invite=TOKEN`, to be put behind the service's address."""
    expires: float


class UserRow(Answer):
    """A row of GET /users."""

    id: str
    name: str
    role: Role
    active: bool
    created: float
    seen: float | None
    invited: float | None
    """When the invitation ends that serves now; None: there is none."""


class UserChange(Request):
    """PATCH /users/{user}; an absent field stays."""

    role: Role | None = None
    active: bool | None = None
    """False ends the person's sessions, invitations and leases."""


class AuditRow(Answer):
    """One line of the append-only record."""

    sequence: int
    at: float
    actor: str
    """Pseudonym, or "system"."""
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str
    """SHA-256 over the line and `previous`."""


class Audit(Answer):
    """GET /audit."""

    rows: list[AuditRow]
    intact: bool
    """Every hash of the page fits its line and the line before it."""


class Health(Answer):
    """GET /healthz and /readyz."""

    status: Literal["ok"]


Page = Annotated[int, Field(ge=1, le=500)]
