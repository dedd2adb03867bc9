"""What happened to a model, out of the ledger's lines: moments, who was champion when, and a drawing of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from pipeline.retrain.decisions import Event
from pipeline.retrain.pieces import MARKS, State, when
from pipeline.retrain.records import PlanRow

ENDS: dict[str, State] = {"promoted": "passed", "refused": "failed", "superseded": "open", "failed": "open"}
SAID: dict[str, tuple[State, str]] = {
    "hold": ("open", "hold"),
    "release_hold": ("note", "released"),
    "override": ("open", "override"),
    "roll_back": ("failed", "rolled back"),
    "leave_out": ("note", "left out"),
    "take_back": ("note", "taken back"),
}
"""What people do, and how it is marked."""
LEGEND = "✓ promoted, ✗ refused or rolled back, ? held, overridden or superseded, • all else"
DRAWN = 24
"""Moments of the drawing, the latest."""
WIDTH, LEFT, RIGHT, TOP, LANE, FOOT = 920, 60, 40, 20, 34, 30


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened, for people."""

    at: str
    """UTC, ISO 8601."""
    state: State
    word: str
    text: str
    """Plain."""
    plan_key: str
    """Plan that it is about; empty when it is about none."""
    champion: int | None
    """Champion from then on; None when the ledger cannot know."""


@dataclass(frozen=True)
class Reign:
    """A time in which one version was champion."""

    version: int
    since: str
    """Empty of the first, which is older than the ledger."""
    until: str
    """Empty while it lasts."""
    how: str
    """Plain text."""


def moments(model: str, rows: Sequence[PlanRow], events: Sequence[Event]) -> list[Moment]:
    """Return what happened to a model, in order.

    Args:
        model: registered name.
        rows: its plans.
        events: the ledger's lines, of other models too.
    """
    by_key = {row.plan.plan_key: row for row in rows}
    champion = rows[0].plan.champion if rows else None
    found: list[Moment] = []
    for event in events:
        row = by_key.get(event.subject)
        if event.action == "finish" and row is not None:
            word, text = _ended(row, event)
            state = "note" if word == "champion kept" else ENDS[str(event.detail["outcome"])]
            champion = event.detail["version"] if event.detail["outcome"] == "promoted" else champion
        elif event.action in SAID and (row is not None or _concerns(model, event.subject)):
            state, word = SAID[event.action]
            text = f"{_about(model, event, row)}{event.actor}: {event.reason}"
            if event.action == "roll_back":
                champion = row.plan.champion if row else None
        else:
            continue
        key = row.plan.plan_key if row else ""
        found.append(Moment(at=event.at, state=state, word=word, text=text, plan_key=key, champion=champion))
    return found


def _concerns(model: str, subject: str) -> bool:
    """Return whether a line about no plan is about this model: about all, or about one of its batches or versions."""
    return not subject or subject.rpartition("/")[0] == model


def _about(model: str, event: Event, row: PlanRow | None) -> str:
    if row is not None:
        version = f", version {row.version}" if event.action == "roll_back" and row.version else ""
        return f"plan {row.plan.plan_key[:8]}{version}; "
    name = event.subject.removeprefix(f"{model}/")
    if not name:
        return ""
    return f"{name.replace('-', ' ')}; " if event.action == "roll_back" else f"batch {name[:16]}; "


def _ended(row: PlanRow, event: Event) -> tuple[str, str]:
    """Return the word for how a plan ended, and why."""
    plan, outcome = row.plan, str(event.detail["outcome"])
    results = (row.verdict or {}).get("results", [])
    failed = [result for result in results if not result["passed"]]
    harmless = failed and all(result["kind"] == "benefit" and result["judged"] for result in failed)
    word = "champion kept" if outcome == "refused" and harmless else outcome
    names = ", ".join(str(result["gate"]) for result in failed)
    gates = f"{len(failed)} of {len(results)} gates against it: {names}" if failed else "all gates let it pass"
    follows = f"version {event.detail['version']} follows version {plan.champion}"
    against = follows if event.detail.get("version") else f"compared with version {plan.champion}"
    batches = f"{len(plan.new_batches)} new {'batch' if len(plan.new_batches) == 1 else 'batches'}"
    verdict = f"; {gates}" if results else ""
    return word, f"plan {plan.plan_key[:8]}, {batches}; {against}{verdict}; policy {plan.policy}"


def reigns(rows: Sequence[PlanRow], found: Sequence[Moment]) -> list[Reign]:
    """Return who was champion when, in order."""
    if not rows:
        return []
    now = Reign(rows[0].plan.champion, "", "", "before the first plan")
    done: list[Reign] = []
    for moment in found:
        if moment.champion is not None and moment.champion != now.version:
            done.append(Reign(now.version, now.since, moment.at, now.how))
            now = Reign(moment.champion, moment.at, "", f"{moment.word}: {moment.text}")
    return [*done, now]


def draw(first: int, found: Sequence[Moment]) -> str:
    """Draw the champion's version over the latest moments: a step up is a promotion, a step down a rollback.

    Args:
        first: champion before them.
        found: in order.

    Returns:
        An `<svg>` element for the style of `explain.page`; empty without moments.
    """
    known = [moment for moment in found if moment.champion is not None]
    drawn, before = known[-DRAWN:], known[-DRAWN - 1 : -DRAWN]
    if not drawn:
        return ""
    now = before[0].champion if before else first
    versions = sorted({moment.champion for moment in [*drawn, *before] if moment.champion is not None} | {now or first})
    step = (WIDTH - LEFT - RIGHT) / len(drawn)
    height = TOP + LANE * len(versions) + FOOT

    def y(version: int | None) -> float:
        assert version is not None, "left out above"
        return TOP + LANE * (len(versions) - 0.5 - versions.index(version))

    parts = [_lane(version, y(version)) for version in versions]
    points = [(float(LEFT), y(now))]
    for place, moment in enumerate(drawn):
        x = LEFT + step * (place + 0.5)
        points += [(x, points[-1][1]), (x, y(moment.champion))]
        tip = escape(f"{when(moment.at)} {moment.word}: {moment.text}")
        sign = f'<text class="axis" x="{x:.1f}" y="{y(moment.champion) - 8:.1f}" text-anchor="middle">'
        parts.append(f"{sign}{MARKS[moment.state]}<title>{tip}</title></text>")
        if place in {0, len(drawn) - 1}:
            foot = f'<text class="axis soft" x="{x:.1f}" y="{height - 8}" text-anchor="middle">'
            parts.append(f"{foot}{escape(moment.at[:10])}</text>")
    line = " ".join(f"{px:.1f},{py:.1f}" for px, py in [*points, (float(WIDTH - RIGHT), points[-1][1])])
    label = f"Champion over the latest {len(drawn)} moments, by version"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
        f'<polyline class="line" points="{line}"/>{"".join(parts)}</svg>'
    )


def _lane(version: int, y: float) -> str:
    return (
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text class="axis" x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">v{version}</text>'
    )
