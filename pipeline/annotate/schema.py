"""What the annotation service and its clients say to each other about people, campaigns and leases.

Items and answers to them are in `schema_items`. Every field is explained where it is declared.

Frames count from 0. A level is 0.0 (the frame is not needed), 0.5 (it shows the motion) or 1.0 (it matters most). Times
are seconds since 1970, UTC, as float. A request with a field that is not declared here is refused.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
LEVELS = (0.0, 0.5, 1.0)


def _level(value: float) -> float:
    if value not in LEVELS:
        raise ValueError("a level is 0, 0.5 or 1")
    return value


Level = Annotated[float, AfterValidator(_level), WithJsonSchema({"type": "number", "enum": list(LEVELS)})]
Source = Literal["human", "filled", "model"]
"""Who set a frame: a stroke of a person, the fill command, or the model's curve snapped to the nearest level."""
Init = Literal["blank", "model"]
Mode = Literal["annotate", "adjudicate"]
Purpose = Literal["first", "second", "practice", "adjudicate"]
Role = Literal["annotator", "reviewer", "admin"]
Language = Literal["en", "ja", "ko"]
State = Literal["open", "needs_second", "adjudicate", "resolved", "flagged", "sealed"]
FlagReason = Literal["cannot_judge", "wrong_label", "broken_clip"]
Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
"""People's words: line breaks and tabs, but no other control character."""
Name = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
MAX_FRAMES = 4096
SPATIAL = 14
"""Rows and columns of a spatial map."""


class Answer(BaseModel):
    """What the service says."""


class Request(BaseModel):
    """What a client says; unknown fields are refused, so that a typing error is never ignored."""

    model_config = ConfigDict(extra="forbid")


# Session


class SignIn(Request):
    """POST /session."""

    token: Annotated[str, Field(min_length=20, max_length=100, pattern=r"^[A-Za-z0-9_-]+$")]
    """The invitation's token. It stands behind `#invite=` in the link, where no server or proxy log sees it."""


class Preferences(Request):
    """PATCH /session; an absent field stays as it is."""

    language: Language | None = None
    settings: Annotated[dict[Id, Annotated[str, Field(max_length=200)]], Field(max_length=64)] | None = None
    """The page's own (key map, palette); replaces all of them. The server never looks inside."""


class Me(Answer):
    """Who is signed in."""

    id: str
    """Pseudonym; the one that exports carry."""
    name: str
    role: Role
    language: Language
    settings: dict[str, str]
    expires: float
    """End of the session; every request moves it on."""


class Session(Answer):
    """Answer of GET /session, signed in or not: asking who one is is no error."""

    me: Me | None
    editor: str
    """Version of the service; goes into drafts as `editor`."""


# Campaigns


class ClassText(Answer):
    """A class of the data set."""

    label: int
    text: str


class ClassCount(Answer):
    """How far a class is. Every item is counted once in open .. sealed; `leased` counts tasks that are held now."""

    label: int
    text: str
    items: int
    open: int
    needs_second: int
    adjudicate: int
    resolved: int
    flagged: int
    sealed: int
    leased: int
    double: int
    """Items that two people annotate."""


class PersonCount(Answer):
    """How far a person is. Annotators get their own row alone."""

    id: str
    name: str
    done: int
    """Answers to real clips: first and second opinions and adjudications."""
    practice: int
    flagged: int
    median_s: float | None
    """Median seconds spent on an answer."""
    mean_distance: float | None
    """Mean |difference| from the truth of practice clips."""


class Campaign(Answer):
    """GET /campaigns."""

    id: str
    name: str
    model: str
    """Name and version of the network whose curve is shown."""
    dataset: str
    guide: str
    """What annotators of this campaign should know; plain text with line breaks."""
    rule: str
    """How the classes were chosen, for people."""
    leak: str
    """What this choice has seen that it should not have; empty: nothing."""
    spatial: bool
    """The spatial layer is on."""
    whatif: bool
    """POST /items/{uid}/whatif works; otherwise hide it."""
    classes: list[ClassCount]


class Progress(Answer):
    """GET /campaigns/{campaign}/progress."""

    items: int
    done: int
    """Resolved, flagged or sealed."""
    classes: list[ClassCount]
    people: list[PersonCount]
    kappa: float | None
    """Mean quadratic kappa of the items that two people annotated."""
    distance: float | None
    """Mean |difference| between their answers."""


# Leases


class Claim(Request):
    """POST /leases."""

    campaign: Id
    label: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Only this class."""
    mode: Mode = "annotate"
    """adjudicate: for reviewers; the item comes with both opinions."""
    tab: Id
    """Names the browser tab; a lease belongs to one."""


class Tab(Request):
    """POST /leases/{lease}/takeover."""

    tab: Id


class Lease(Answer):
    """The right of one tab to write one item, until it expires."""

    id: str
    token: str
    """Send as `Lease-Token` with everything that writes. A takeover makes a new one; the old one then gets 423."""
    item: str
    """uid."""
    campaign: str
    purpose: Purpose
    tab: str
    expires: float
    """10 minutes after the last claim, renewal or save."""


class Claimed(Answer):
    """Answer of POST /leases."""

    lease: Lease | None
    """None: see `reason`."""
    reason: Literal["", "nothing_left", "too_many_leases"]
    """too_many_leases: a person holds at most 4, two tabs with a clip at hand and the next one fetched ahead."""
