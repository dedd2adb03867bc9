"""What the gates look at, as plain values: gathered once for a plan, stored, and judged again by anybody.

Shares are in 0 to 1, differences of top-1 in points. What could not be measured is None or empty; the policy says
whether that refuses a plan. Fields with a default may be left out by who gathers evidence, at that price.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Champion and candidate on the same frozen list of videos, one entry a video."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    """Texts by class index."""
    label_N: tuple[int, ...]
    """True class."""
    champion_N: tuple[bool, ...]
    """Which videos the champion gets right (top-1)."""
    candidate_N: tuple[bool, ...]
    """Likewise the candidate."""
    champion_lead_N: tuple[float, ...] = ()
    """By how much the true class leads the best other class, log p(true) - log p(best other); `stats.leads` computes
    it from scores. Empty: the gate of partial credit has nothing to judge."""
    candidate_lead_N: tuple[float, ...] = ()
    """Likewise of the candidate."""

    def __post_init__(self) -> None:
        videos = len(self.ids)
        for name in ("label_N", "champion_N", "candidate_N"):
            if len(getattr(self, name)) != videos:
                raise ValueError(f"{name} must have {videos} entries. Received: {len(getattr(self, name))}.")
        if len(set(self.ids)) != videos:
            raise ValueError(f"a video must be scored once. Received: {videos} rows of {len(set(self.ids))} videos.")
        if any(not 0 <= k < len(self.classes) for k in self.label_N):
            raise ValueError(f"labels must be in [0, {len(self.classes)}).")
        if {len(self.champion_lead_N), len(self.candidate_lead_N)} not in ({0}, {videos}):
            got = f"{len(self.champion_lead_N)} and {len(self.candidate_lead_N)}"
            raise ValueError(f"leads must be given for all {videos} videos of both, or for none. Received: {got}.")


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What champion and candidate attend to."""

    heldout_videos: int
    """Videos whose edits no network was trained on."""
    heldout_before: float | None
    """Mean squared difference of the champion's temporal attention to those edits; None without such videos."""
    heldout_after: float | None
    """Likewise of the candidate."""
    inversion_before: float
    """Points of top-1 that it costs the champion to have both attentions inverted."""
    inversion_after: float
    """Likewise the candidate."""
    spread_before: float
    """Mean over videos of the standard deviation over frames of the champion's temporal attention."""
    spread_after: float
    """Likewise of the candidate."""


@dataclass(frozen=True, kw_only=True)
class BatchHealth:
    """What the plan's new batches look like."""

    clips: int
    kappa: float | None
    """Mean quadratic-weighted kappa of the clips that two people answered; None without one."""
    doubled: int
    """Clips that two people answered."""
    flagged: float
    """Share of clips that somebody would not judge."""
    levels: tuple[float, float, float]
    """Share of the set frames at 0, 0.5 and 1."""
    unset: float
    """Share of all frames."""
    by_class: dict[str, int]
    """Clips by class text."""
    steadiness: float | None = None
    """How much rarer a level changes from frame to frame than in the same clips shuffled: 1 never, 0 as often
    (`stats.steadiness`); None when no clip has two levels."""
    steadiness_by_class: dict[str, float] = field(default_factory=dict)
    """Likewise by class text; a class without a clip of two levels is absent."""
    blank_by_class: dict[str, int] = field(default_factory=dict)
    """Clips by class text in which no frame is above 0."""


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """What the candidate is as a file and as a program."""

    finite: bool
    """Every weight, statistic and step was a finite number."""
    extractor_identical: bool
    """The frozen extractor's weights and batch norm statistics are those of the base, to the bit."""
    parameters_before: int
    parameters_after: int
    latency_before_ms: float
    """Shortest of some forward passes of one clip, the champion's, taken in turns with the candidate's."""
    latency_after_ms: float


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a verdict rests on."""

    scored: Scored
    edited: tuple[str, ...]
    """Texts of the classes that the plan's new batches touch."""
    attention: Attention
    health: BatchHealth
    integrity: Integrity

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.edited) - set(self.scored.classes)):
            raise ValueError(f"edited classes must be among the scored ones. Received: {', '.join(unknown)}.")
