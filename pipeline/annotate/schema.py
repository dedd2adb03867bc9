"""What the annotation service and its clients say to each other; every field is explained where it is declared.

Frames count from 0. A level is 0.0 (the frame is not needed), 0.5 (it shows the motion) or 1.0 (it matters most). Times
are seconds since 1970, UTC, as float. A request with a field that is not declared here is refused.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

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


class Problem(Answer):
    """Body of every answer from 400 on."""

    code: str
    """For programs; the module `errors` lists them all."""
    message: str
    """For people, in English."""
    fields: list[str] = []
    """invalid: where in the request, such as body.scores.3."""
    frames: list[int] = []
    """unset_frames: the frames that have no level."""
    draft: "Draft | None" = None
    """stale: what the server holds; the client decides what to keep and saves again with this version."""
    holder: str = ""
    """lease_gone: "you" (another tab of this person), "other" (somebody else) or "nobody" (it lapsed: claim again)."""


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


# Items


class Window(Answer):
    """Frames start .. stop-1, every stride-th."""

    start: int
    stop: int
    stride: int


class Prediction(Answer):
    """One of the model's best five."""

    label: int
    text: str
    score: float
    """Softmax, 0 to 1."""


class Example(Answer):
    """A finished clip of the class, to show what the levels mean. Its frames come from /items/{uid}/ like any other."""

    uid: str
    scores: list[float]
    num_frames: int
    width: int
    height: int
    content: str
    caption: str


class SpatialMap(Request):
    """Spatial levels of one frame."""

    frame: Annotated[int, Field(ge=0, lt=MAX_FRAMES)]
    cells: Annotated[list[Level], Field(min_length=SPATIAL**2, max_length=SPATIAL**2)]
    """14 x 14 levels, row by row from the top left."""


class DraftIn(Request):
    """Body of PUT draft and POST submit: always the whole answer, so a lost request never leaves half of one."""

    scores: Annotated[list[Level | None], Field(min_length=1, max_length=MAX_FRAMES)]
    """One per video frame; null is unset."""
    sources: Annotated[list[Source | None], Field(min_length=1, max_length=MAX_FRAMES)]
    """One per video frame; null exactly where the score is."""
    init: Init
    """What the person started from."""
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
    """Active time on this clip so far."""
    editor: Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_.+-]*$")] = ""
    """Version of the page."""
    spatial: Annotated[list[SpatialMap], Field(max_length=512)] = []
    """Frames with a spatial map, each once; must be empty where the campaign has no spatial layer."""

    @model_validator(mode="after")
    def _agrees(self) -> "DraftIn":
        if [score is None for score in self.scores] != [source is None for source in self.sources]:
            raise ValueError("sources must be null exactly where scores are")
        frames = [spatial.frame for spatial in self.spatial]
        if len(set(frames)) < len(frames) or any(frame >= len(self.scores) for frame in frames):
            raise ValueError("each spatial map needs a frame of its own")
        return self


class Draft(Answer):
    """What the server holds of a person's answer."""

    version: int
    """0: never saved. Send the version that was read as `If-Match` with the next save."""
    scores: list[Level | None]
    sources: list[Source | None]
    init: Init
    seconds: float
    editor: str
    spatial: list[SpatialMap]
    saved: float | None
    """When; None with version 0."""


class Opinion(Answer):
    """Somebody's finished answer, for the comparison and for adjudication."""

    author: str
    """Pseudonym; "truth" for a practice clip's known answer."""
    scores: list[Level]
    sources: list[Source]
    init: Init
    seconds: float


class Comparison(Answer):
    """Two answers side by side."""

    kappa: float | None
    """Quadratic-weighted; None where both answers are one and the same single level."""
    distance: float
    """Mean |difference|."""
    agreed: bool
    """distance within the campaign's limit and no frame 0.0 in one and 1.0 in the other."""
    frames: list[int]
    """Frames that differ."""
    other: Opinion


class Item(Answer):
    """GET /items/{uid}: all that the page needs to show a clip; its pictures apart."""

    uid: str
    campaign: str
    state: State
    purpose: Purpose
    """What is asked of this person."""
    dataset: str
    label: ClassText
    """The true class, as the data set says."""
    predicted: ClassText
    top5: list[Prediction]
    true_score: float
    true_rank: int
    """1 is first."""
    margin: float
    """Score of the prediction minus score of the true class."""
    model: str
    num_frames: int
    fps: float
    width: int
    """Of the stored frames, pixels."""
    height: int
    attention: list[float]
    """The model's own curve, 0 to 1, one value per frame of the video; no human value is ever written into it."""
    window: Window
    """What the prediction was made from. Where stop > num_frames the model saw the last frame repeated."""
    windows: list[Window]
    """What the curve was made from."""
    content: str
    """Digest of the pictures; append as `?v=` to the address of a picture so that it may be cached for ever."""
    widths: list[int]
    """Allowed values of `w` for pictures, pixels; the height follows the aspect ratio, rounded."""
    strip_columns: int
    """Cells in a row of strip.jpg; cell (w, round(w * height / width)) pixels, filled row by row from the top left."""
    examples: list[Example]
    guide: str
    spatial: bool
    spatial_attention: list[list[float]] | None
    """The model's spatial map of every frame, 196 values each; None where the layer is off or was not mined."""
    whatif: bool
    init: Init
    """What to start from; where `init_fixed`, do not offer the other (the share that measures what the curve does)."""
    init_fixed: bool
    draft: Draft
    opinions: list[Opinion]
    """Both answers when this person adjudicates or reviews; otherwise empty."""
    note: str
    """Why a reviewer gave it back; empty otherwise."""
    submitted: bool
    """This person's answer is final; nothing can be written."""
    holder: Literal["you", "other", "nobody"]
    """Who has the lease now."""
    lease: Lease | None
    """This person's own lease, without which tab asked: compare `tab` to know whether to offer a takeover. Its token
    is empty where another tab holds it."""


class Saved(Answer):
    """Answer of PUT draft."""

    version: int
    saved: float
    expires: float
    """Of the lease, which a save renews."""


class Submitted(Answer):
    """Answer of POST submit and POST flag."""

    state: State
    comparison: Comparison | None
    """With the first opinion, or with the truth of a practice clip; None for a first opinion."""


class Flag(Request):
    """POST /items/{uid}/flag."""

    reason: FlagReason
    note: Text = ""


class WhatIf(Request):
    """POST /items/{uid}/whatif."""

    scores: Annotated[list[Level | None], Field(min_length=1, max_length=MAX_FRAMES)]
    """One per video frame; the model's own value is used where null."""


class Outcome(Answer):
    """What the network says of the window."""

    top5: list[Prediction]
    true_score: float
    true_rank: int


class WhatIfAnswer(Answer):
    """Answer of POST whatif."""

    before: Outcome
    """With the network's own temporal attention."""
    after: Outcome
    """With the edited one."""
