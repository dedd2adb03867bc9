"""How good a candidate must be: the gates' limits as one frozen value, read from a versioned file.

A policy is named by its file and by its content, such as standard-1@1f2e3d4c5b6a, so that no verdict rests on limits
that somebody has changed since. docs/decisions/0017-gates.md says where the numbers of the bundled policies come from.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pipeline.core import storage
from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError, problem

BUNDLED = Path(__file__).parent / "policies"
STANDARD = "standard-1"
"""The policy of a plan that names none."""

Missing = Literal["refuse", "not judged"]
"""What a gate does when there is nothing to judge; either way the table says so."""


def _check(section: str, config: object, **ranges: tuple[float, float]) -> None:
    """Raise UserError unless every named number lies in its closed range; NaN does not."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value <= high:
            got, allowed = f"{section}.{name}={value}", f"{low:g} to {high:g}"
            fix = f"set {section}.{name} in the policy file"
            raise UserError(problem("A limit of the gate policy makes no sense", got=got, allowed=allowed, fix=fix))


@dataclass(frozen=True, kw_only=True)
class Worse:
    """When some videos together got worse: by more than a margin, and by more than churn explains."""

    margin_points: float
    """Points of top-1 that may be lost."""
    alpha: float
    """Chance of calling the candidate worse when it is not: level of the one-sided exact paired test."""
    missing: Missing
    """When the list holds none of these videos."""

    def __post_init__(self) -> None:
        _check("margin", self, margin_points=(0, 100), alpha=(0, 0.5))


@dataclass(frozen=True, kw_only=True)
class Better:
    """When the edited classes together got better."""

    gain_points: float
    """The gain in top-1 must be above this; -100 asks for none."""
    alpha: float
    """Chance of calling the candidate better when it is not: level of the one-sided exact paired test; 1 asks for a
    gain alone."""
    missing: Missing
    """When the list holds no video of an edited class."""

    def __post_init__(self) -> None:
        _check("edited_better", self, gain_points=(-100, 100), alpha=(0, 1))


@dataclass(frozen=True, kw_only=True)
class Classes:
    """When one class got worse, though all together did not. Every class is judged, edited or not."""

    alpha: float
    """Chance that the paired exact tests with Holm's correction call any class worse when none is."""
    floor_points: float
    """No class may lose more points than this, where its number of videos permits to say so."""
    floor_alpha: float
    """Chance that churn alone takes any class below the floor; where the floor alone would fail more often, as in small
    classes, a class may lose what churn takes from it with this chance."""
    least_churn: float
    """Share of videos that two trainings of the same are assumed to differ in, where the list shows less."""
    prior_videos: float
    """Videos that the whole list's churn counts as, beside the churn of a class's own."""

    def __post_init__(self) -> None:
        _check("classes", self, alpha=(0, 0.5), floor_points=(0, 100), floor_alpha=(0, 0.5), least_churn=(0, 1))
        _check("classes", self, prior_videos=(0, 1e6))


@dataclass(frozen=True, kw_only=True)
class Credit:
    """When one class got worse by partial credit, which sees a loss through less churn than right and wrong do."""

    points: float
    """Points of credit that a class may lose."""
    alpha: float
    """Chance that churn alone makes any class lose more. What whole classes that nobody edited gained widens it."""
    crash_points: float
    """Net share of a class's videos that may crash, from sure and right towards sure and wrong, in points."""
    crash_alpha: float
    """Chance that churn alone makes more videos of any class crash, and more than it explains."""
    least_crashes: float
    """Share of videos that crash or rise between two trainings of the same, where the list shows less."""
    prior_videos: float
    """Videos that the whole list's scatter counts as, beside the scatter of a class's own."""
    missing: Missing
    """When the evidence holds no leads."""

    def __post_init__(self) -> None:
        _check("credit", self, points=(0, 100), alpha=(1e-9, 0.5), crash_points=(0, 100), crash_alpha=(0, 0.5))
        _check("credit", self, least_crashes=(0, 1), prior_videos=(0, 1e6))


@dataclass(frozen=True, kw_only=True)
class AttentionLimits:
    """What attention must stay."""

    heldout_videos: int
    """Fewer videos with held-out edits are too few to judge."""
    heldout_rise: float
    """Share by which the squared difference to held-out edits may rise before it is harm; to count as better it must
    fall."""
    heldout_missing: Missing
    """When too few edits are held out."""
    inversion_points: float
    """Points by which the cost of inverting both attentions may shrink."""
    spread_share: float
    """Share of the champion's spread over frames that must remain."""
    spread: float
    """Spread over frames below which temporal attention has collapsed, whatever the champion's."""

    def __post_init__(self) -> None:
        _check("attention", self, heldout_videos=(1, 1e9), heldout_rise=(0, 10), inversion_points=(0, 100))
        _check("attention", self, spread_share=(0, 1), spread=(0, 0.5))


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """What new batches must look like."""

    clips: int
    """At least."""
    doubled: int
    """Clips answered by two people, fewer of which are too few to judge agreement."""
    kappa: float
    """Mean quadratic-weighted kappa of those, at least."""
    doubled_missing: Missing
    """When fewer clips were answered by two people."""
    flagged: float
    """Share of clips flagged, at most."""
    level: float
    """Share of set frames at any one of the three levels, at most."""
    distance: float
    """How far the shares of levels must be from a third each, at least (sum of absolute differences): who answers at
    random is near 0."""
    unset: float
    """Share of frames unset, at most."""
    steadiness: float
    """Steadiness of all clips, and of each class with enough clips, at least: who answers at random has 0."""
    steadiness_missing: Missing
    """When no clip has two levels, or the evidence does not say."""
    class_clips: int
    """Clips that make a class large enough to be judged by itself."""
    blank: float
    """Share of the clips of such a class in which nothing is above 0, at most."""

    def __post_init__(self) -> None:
        _check("batch", self, clips=(0, 1e9), doubled=(1, 1e9), kappa=(-1, 1), flagged=(0, 1), level=(1 / 3, 1))
        _check("batch", self, distance=(0, 4 / 3), unset=(0, 1), steadiness=(-1, 1), class_clips=(1, 1e9), blank=(0, 1))


@dataclass(frozen=True, kw_only=True)
class IntegrityLimits:
    """What the candidate may cost."""

    latency_ratio: float
    """Candidate's latency over the champion's, at most."""
    parameters_ratio: float
    """Likewise its number of parameters; it may not have fewer than the champion by that factor either."""

    def __post_init__(self) -> None:
        _check("integrity", self, latency_ratio=(1, 100), parameters_ratio=(1, 100))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """All limits. No key has a default: a file says everything that a verdict rests on."""

    name: str
    """Name and version, as the file is called."""
    overall: Worse
    """Of all videos."""
    edited: Worse
    """Of the videos of edited classes."""
    edited_better: Better
    untouched: Worse
    """Of the videos of all other classes."""
    classes: Classes
    credit: Credit
    attention: AttentionLimits
    batch: BatchLimits
    integrity: IntegrityLimits

    @property
    def id(self) -> str:
        """Name and the first twelve digits of the SHA-256 over the content."""
        return f"{self.name}@{storage.sha256_json(to_dict(self))[:12]}"


def read_policy(name: str = STANDARD) -> Policy:
    """Read a policy.

    Args:
        name: of a bundled policy, or the path or URI of a JSON file.

    Raises:
        UserError: there is no such policy, it is not JSON, a key is unknown or missing, a value makes no sense, or the
            name in the file is not the file's.
    """
    bundled = sorted(path.stem for path in BUNDLED.glob("*.json"))
    uri = str(BUNDLED / f"{name}.json") if name in bundled else name
    fix = "name a bundled policy, or copy one of them and edit it"
    try:
        values = json.loads(storage.read_bytes(uri))
    except FileNotFoundError as error:
        allowed = f"{', '.join(bundled)}, or the path of a JSON file"
        raise UserError(problem("There is no such gate policy", got=name, allowed=allowed, fix=fix)) from error
    except ValueError as error:
        what = f"A gate policy is not JSON: {uri}"
        raise UserError(problem(what, got=str(error), allowed="a JSON object", fix=fix)) from error
    policy = from_values(values, uri)
    stem = uri.rsplit("/", 1)[-1].removesuffix(".json")
    if policy.name != stem:
        fix = "give a changed policy a new name, in the file and of the file"
        raise UserError(problem("A gate policy has another name than its file", got=policy.name, allowed=stem, fix=fix))
    return policy


def from_values(values: Any, where: str = "the policy") -> Policy:
    """Make a policy of JSON values.

    Raises:
        UserError: a key is unknown or missing, or a value makes no sense.
    """
    if not isinstance(values, Mapping):
        fix = "copy a bundled policy and edit it"
        got = type(values).__name__
        raise UserError(problem(f"A gate policy is a JSON object: {where}", got=got, allowed="an object", fix=fix))
    if lacking := _lacking(Policy, values):
        what, fix = f"A gate policy lacks limits: {where}", "write them down, no limit has a default"
        raise UserError(problem(what, got=f"nothing for {', '.join(lacking)}", allowed="all keys", fix=fix))
    if infinite := [name for name, number in _numbers(values) if not math.isfinite(number)]:
        what, fix = f"A limit of the gate policy is no number: {where}", "write a finite number"
        raise UserError(problem(what, got=", ".join(infinite), allowed="finite numbers", fix=fix))
    return from_dict(Policy, values)


def _lacking(cls: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    found, hints = [], get_type_hints(cls)
    for name in (f.name for f in dataclasses.fields(cls)):
        if name not in values:
            found.append(prefix + name)
        elif dataclasses.is_dataclass(hints[name]) and isinstance(values[name], Mapping):
            found += _lacking(hints[name], values[name], f"{prefix}{name}.")
    return found


def _numbers(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            found.append((prefix + name, value))
    return found
