"""A campaign: clips that people should annotate, with the model's curve for each. A folder that mining writes.

`items.parquet` holds a row for every clip; `campaign.json`, published last, says what it is about and holds the
checksum of the rows. `import_campaign` (module `importing`) takes it into a store.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.annotate.schema import MAX_FRAMES, SPATIAL
from pipeline.core import storage
from pipeline.core.config import from_dict
from pipeline.core.errors import UserError, problem

CAMPAIGN, ITEMS = "campaign.json", "items.parquet"
FORMAT = 1
Kind = Literal["work", "gold", "example"]


@dataclass(frozen=True, kw_only=True)
class CampaignSettings:
    """How a campaign is annotated."""

    double_share: float = 0.15
    """Of the clips, annotated by two people who do not see each other's answer."""
    agree_distance: float = 0.15
    """Two answers agree up to this mean |difference|."""
    practice_first: int = 2
    """Clips of known truth before a person's first real one, if there are as many."""
    gold_share: float = 0.04
    """Of a person's clips, of known truth, in between."""
    heldout_share: float = 0.1
    """Of the clips, annotated but kept out of training, to measure on; drawn by video, alike in every campaign."""
    init: Literal["blank", "model"] = "model"
    """What people start from where the comparison does not fix it."""
    spatial: bool = False
    """People also mark where, on 14 x 14 cells of every frame."""

    def __post_init__(self) -> None:
        for name in ("double_share", "gold_share", "heldout_share", "agree_distance"):
            if not 0 <= getattr(self, name) <= 1:
                got = getattr(self, name)
                fix = f"correct settings.{name} of the campaign"
                raise UserError(problem(f"{name} is no share", got=got, allowed="0 to 1", fix=fix))
        if self.practice_first < 0:
            fix = "set settings.practice_first to 0 for none"
            raise UserError(problem("practice_first is negative", got=self.practice_first, allowed="0 and up", fix=fix))


@dataclass(frozen=True, kw_only=True)
class CampaignItem:
    """One clip to annotate."""

    video: str
    """Id in the prepared data set."""
    label: int
    predicted: int
    top5: tuple[int, ...]
    """The model's best classes, best first."""
    top5_scores: tuple[float, ...]
    """Softmax."""
    true_score: float
    true_rank: int
    """1 is first."""
    margin: float
    """Score of the prediction minus score of the true class."""
    num_frames: int
    attention_V: npt.NDArray[np.float32] = field(compare=False)
    """The model's temporal attention for every frame of the video."""
    window: tuple[int, int, int]
    """start, stop, stride of the clip the prediction was made from."""
    windows: tuple[tuple[int, int, int], ...]
    """The clips that the attention was made from."""
    priority: float
    """Higher is asked first within a class."""
    kind: Kind = "work"
    """work; gold: `truth_V` is known, for practice; example: shown with its truth to explain the levels."""
    truth_V: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    spatial_VP: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    """The model's spatial map of every frame, P = 14 * 14 cells."""
    caption: str = ""
    """Of an example: what it shows about the levels."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What a campaign is about."""

    name: str
    model: str
    """Name and version of the network whose attention is shown."""
    dataset: str
    classes: tuple[str, ...]
    """Class texts by class index."""
    passport: str
    """Of the prepared data set that the frame numbers refer to."""
    root: str
    """Where that data set lies, a path or URI."""
    rule: str
    """How the classes were chosen, for people."""
    leak: str = ""
    """What that choice saw and should not have, such as validation labels; empty: nothing."""
    guide: str = ""
    """What annotators should know."""
    settings: CampaignSettings = field(default_factory=CampaignSettings)
    items: tuple[CampaignItem, ...] = field(default=(), repr=False)

    @property
    def id(self) -> str:
        """The name as an id; a campaign is known by it."""
        return re.sub(r"[^A-Za-z0-9_-]+", "-", self.name).strip("-")[:64]

    def __post_init__(self) -> None:
        if not self.id:
            raise _wrong("A campaign's name makes no id", self.name, "letters, digits, - and _")
        videos = [item.video for item in self.items]
        if len(set(videos)) < len(videos):
            twice = next(video for video in videos if videos.count(video) > 1)
            raise _wrong("A campaign holds a video twice", twice, "every video once")
        for item in self.items:
            _check(item, len(self.classes))


def _wrong(what: str, got: object, allowed: str) -> UserError:
    return UserError(problem(what, got=got, allowed=allowed, fix="write the campaign again"))


def _check(item: CampaignItem, classes: int) -> None:
    """Raise UserError for a clip whose numbers do not fit each other."""
    what, frames = f"Video {item.video} of a campaign", item.num_frames
    if not 1 <= frames <= MAX_FRAMES:
        raise _wrong(f"{what} has an impossible length", frames, f"1 to {MAX_FRAMES} frames")
    for curve_V in (item.attention_V, item.truth_V):
        if curve_V is not None and not (curve_V.shape == (frames,) and ((curve_V >= 0) & (curve_V <= 1)).all()):
            raise _wrong(f"{what} has a wrong curve", curve_V.shape, f"{frames} values from 0 to 1")
    if item.spatial_VP is not None and item.spatial_VP.shape != (frames, SPATIAL**2):
        raise _wrong(f"{what} has wrong spatial maps", item.spatial_VP.shape, f"({frames}, {SPATIAL**2})")
    if not all(0 <= label < classes for label in (item.label, item.predicted, *item.top5)):
        raise _wrong(f"{what} names an unknown class", (item.label, item.predicted, item.top5), f"below {classes}")
    if (item.kind == "work") != (item.truth_V is None):
        raise _wrong(f"{what}: truth and kind disagree", item.kind, "a truth for gold and example, none for work")
    if len(item.top5) != len(item.top5_scores):
        raise _wrong(f"{what} has {len(item.top5)} best classes", item.top5_scores, "a score for each")
    for start, stop, stride in (item.window, *item.windows):
        if not (0 <= start < frames and start < stop and stride >= 1):
            raise _wrong(f"{what} has an impossible window", (start, stop, stride), "start, stop, stride in the video")


_WINDOW = pa.list_(pa.int32(), 3)
_CURVE = pa.list_(pa.field("item", pa.float32(), nullable=False))
SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("predicted", pa.int32(), nullable=False),
        pa.field("top5", pa.list_(pa.int32()), nullable=False),
        pa.field("top5_scores", pa.list_(pa.float64()), nullable=False),
        pa.field("true_score", pa.float64(), nullable=False),
        pa.field("true_rank", pa.int32(), nullable=False),
        pa.field("margin", pa.float64(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("attention_V", _CURVE, nullable=False),
        pa.field("window", _WINDOW, nullable=False),
        pa.field("windows", pa.list_(_WINDOW), nullable=False),
        pa.field("priority", pa.float64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("truth_V", _CURVE),
        pa.field("spatial_VP", pa.list_(_CURVE)),
        pa.field("caption", pa.string(), nullable=False),
    ]
)
assert SCHEMA.names == [f.name for f in fields(CampaignItem)]


def write_campaign(uri: str, campaign: Campaign) -> str:
    """Write a campaign's folder, the rows first; returns its checksum. The same campaign is the same bytes."""
    rows = [
        {name: _plain(getattr(item, name)) for name in SCHEMA.names}
        for item in sorted(campaign.items, key=lambda item: item.video)
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file, compression="zstd")
    data = file.getvalue()
    storage.publish_bytes(storage.join(uri, ITEMS), data)
    facts = {**about(campaign), "format": FORMAT, "items": len(rows), "items_sha256": hashlib.sha256(data).hexdigest()}
    storage.write_json(storage.join(uri, CAMPAIGN), facts)
    return storage.sha256_json(facts)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def about(campaign: Campaign) -> dict[str, Any]:
    """Return all of a campaign but its items, as JSON values."""
    values = asdict(replace(campaign, items=()))
    del values["items"]
    return {**values, "classes": list(campaign.classes)}


def read_campaign(uri: str) -> tuple[Campaign, str]:
    """Read a campaign's folder; also returns its checksum.

    Raises:
        UserError: there is none, it is of another format, damaged, or its rows are not the ones it speaks of.
    """
    allowed = f"a folder with {CAMPAIGN} and {ITEMS}"
    fix = "correct --campaign, or mine one with jobs/mine_misclassified.py"
    try:
        facts: dict[str, Any] = storage.read_json(storage.join(uri, CAMPAIGN))
        data = storage.read_bytes(storage.join(uri, ITEMS))
    except FileNotFoundError as error:
        raise UserError(problem("There is no campaign", got=uri, allowed=allowed, fix=fix)) from error
    except ValueError as error:
        raise UserError(problem(f"A campaign is damaged ({error})", got=uri, allowed=allowed, fix=fix)) from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise UserError(problem(f"{uri} has another format", got=facts, allowed=f"format {FORMAT}", fix=fix))
    found = hashlib.sha256(data).hexdigest()
    if found != facts.get("items_sha256"):
        what = f"{ITEMS} of {uri} is not the one that {CAMPAIGN} speaks of"
        raise UserError(problem(what, got=found, allowed=facts.get("items_sha256"), fix=fix))
    known: Mapping[str, Any] = {k: v for k, v in facts.items() if k not in ("format", "items", "items_sha256")}
    campaign = from_dict(_About, known)
    items = tuple(_item(row) for row in pq.read_table(pa.BufferReader(data)).to_pylist())
    return Campaign(**{f.name: getattr(campaign, f.name) for f in fields(_About)}, items=items), storage.sha256_json(
        facts
    )


@dataclass(frozen=True, kw_only=True)
class _About:
    """campaign.json without what binds it to the rows; typed, so that a wrong one is refused by name."""

    name: str
    model: str
    dataset: str
    classes: tuple[str, ...]
    passport: str
    root: str
    rule: str
    leak: str
    guide: str
    settings: CampaignSettings


def _item(row: Mapping[str, Any]) -> CampaignItem:
    def curve(values: Sequence[Any] | None) -> npt.NDArray[np.float32] | None:
        return None if values is None else np.asarray(values, np.float32)

    known = {k: v for k, v in row.items() if k not in ("attention_V", "truth_V", "spatial_VP")}
    known |= {"top5": tuple(row["top5"]), "top5_scores": tuple(row["top5_scores"]), "window": tuple(row["window"])}
    return CampaignItem(
        **{**known, "windows": tuple(tuple(window) for window in row["windows"])},
        attention_V=np.asarray(row["attention_V"], np.float32),
        truth_V=curve(row["truth_V"]),
        spatial_VP=curve(row["spatial_VP"]),
    )
