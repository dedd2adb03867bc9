"""What the annotation service and its clients say to each other about items and the answers to them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.annotate.schema import (
    MAX_FRAMES,
    SPATIAL,
    Answer,
    ClassText,
    FlagReason,
    Init,
    Lease,
    Level,
    Purpose,
    Request,
    Source,
    State,
    Text,
)


class Problem(Answer):
    """Body of every answer from 400 on."""

    code: str
    """For programs; the module `errors` lists them all."""
    message: str
    """For people, in English."""
    fields: list[str] = Field(default_factory=list)
    """invalid: where in the request, such as body.scores.3."""
    frames: list[int] = Field(default_factory=list)
    """unset_frames: the frames that have no level."""
    draft: "Draft | None" = None
    """stale: what the server holds; the client decides what to keep and saves again with this version."""
    holder: str = ""
    """lease_gone: "you" (another tab of this person), "other" (somebody else) or "nobody" (it lapsed: claim again)."""


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
    spatial: Annotated[list[SpatialMap], Field(max_length=512, default_factory=list)]
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
    """Allowed values of `w` for pictures, pixels; the height follows the aspect ratio, rounded. Pictures are never
    enlarged: a `w` over `width` gives the stored size."""
    strip_columns: int
    """Cells in a row of strip.jpg, which is filled row by row from the top left. With w = min(w, width) a cell has
    (w, round(w * height / width)) pixels."""
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
