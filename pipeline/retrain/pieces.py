"""What the pages of retraining are made of: marks that need no colour, tables that fit a phone, numbers as they are."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Literal

State = Literal["passed", "failed", "open", "note"]

MARKS: dict[State, str] = {"passed": "✓", "failed": "✗", "open": "?", "note": "•"}
STYLE = """
:root { --good: #17694a; --bad: #a82a1d; --wait: #5c626d; }
@media (prefers-color-scheme: dark) { :root { --good: #57cf9f; --bad: #ff9384; --wait: #a2a9b4; } }
.mark { display: inline-block; min-width: 6.2rem; padding: .05rem .5rem; border: 2px solid var(--wait);
  border-radius: 6px; color: var(--wait); font-weight: 600; white-space: nowrap; }
.mark.passed { border-color: var(--good); color: var(--good); }
.mark.failed { border-style: double; border-width: 4px; padding: 0 .4rem; border-color: var(--bad); color: var(--bad); }
.mark.open { border-style: dashed; }
.verdict { font-size: 1.25rem; line-height: 1.35; margin: .75rem 0; max-width: none; }
.verdict .mark { margin-right: .35rem; }
.what { background: var(--card); border-left: 4px solid var(--soft); border-radius: 6px; padding: .6rem .9rem;
  margin: 1rem 0; }
.what p { margin: .2rem 0; }
h1, p, dd, figcaption, caption, pre { overflow-wrap: anywhere; }
code { font: .92em ui-monospace, monospace; overflow-wrap: anywhere; }
a { color: var(--line); }
table + table { margin-top: 1.25rem; }
td p, th p { margin: 0 0 .2rem; } td small, th small { color: var(--soft); font-size: .86rem; }
table.pairs th { overflow-wrap: anywhere; } table.pairs th:first-child { width: 52%; }
table.pairs td:nth-child(3) { width: 14rem; } table.named th:first-child { white-space: nowrap; }
pre { background: var(--card); padding: .75rem; border-radius: 6px; font-size: .86rem; white-space: pre-wrap; }
.figures { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .15rem 0 0; padding: 0;
  color: var(--soft); font-size: .86rem; }
.figures b { color: var(--ink); font-weight: 500; }
.plot { width: 11rem; background: none; } .plot line { stroke: var(--line); stroke-width: 3; }
.plot circle { fill: var(--line); } .plot .zero { stroke: var(--soft); stroke-width: 1; }
ol.line { list-style: none; margin: 0; padding: 0; }
ol.line li { border-left: 2px solid var(--rule); padding: .25rem 0 .75rem 1rem; overflow-wrap: anywhere; }
ol.line p { margin: .1rem 0; max-width: none; } ol.line time { color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) { body { padding: 1rem .9rem 3rem; } .mark { min-width: 0; } h2 { margin-top: 2rem; }
  .verdict { font-size: 1.1rem; } table.plots tr > :nth-child(3) { display: none; } }
"""
"""After the style of `explain.page`."""


def mark(state: State, text: str) -> str:
    """Return a word with a sign and a border of its own, so that it is told apart without colour."""
    return f'<span class="mark {state}"><span aria-hidden="true">{MARKS[state]}</span> {escape(text)}</span>'


def number(value: float | int | None) -> str:
    """Return a number as pages show it: whole ones as they are, others to four digits."""
    if value is None:
        return "not measured"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "not finite"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1e4 else f"{value:.4g}"


def chance(p: float) -> str:
    """Return a p-value."""
    return f"p {p:.3f}" if p >= 0.001 else "p < 0.001"


def when(at: str) -> str:
    """Return a moment of the ledger, UTC, without what ISO 8601 adds for machines."""
    return at.replace("T", " ").replace("+00:00", " UTC")


def signed(value: float) -> str:
    """Return a difference with its sign, to two places."""
    return f"{value:+.2f}"


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Return a table whose first cells name their lines.

    Args:
        caption: HTML, like all cells.
        heads: one a column; those that begin with ">" stand over numbers.
        rows: cells.
        kind: class of the table.
    """
    numeric = [head.startswith(">") for head in heads]
    top = "".join(
        f'<th scope="col"{_number(right)}>{head.removeprefix(">")}</th>'
        for head, right in zip(heads, numeric, strict=True)
    )
    body = []
    for first, *others in rows:
        cells = "".join(f"<td{_number(right)}>{cell}</td>" for cell, right in zip(others, numeric[1:], strict=True))
        body.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    shown = f"<caption>{caption}</caption>" if caption else ""
    named = f' class="{kind}"' if kind else ""
    return f"<table{named}>{shown}<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _number(right: bool) -> str:
    return ' class="number"' if right else ""


def section(title: str, body: str) -> str:
    """Return a part of a page; the title is plain text."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def details(summary: str, body: str, *, shown: bool = False) -> str:
    """Return what is shown when asked for, or at once and can be put away; the summary is plain text."""
    return f"<details{' open' if shown else ''}><summary>{escape(summary)}</summary>{body}</details>"


def figures(values: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """Return names and numbers as a list that wraps, each with the limit of its name, and then the other limits."""
    items = []
    for name, value in values.items():
        limit = f" (limit {number(limits[name])})" if name in limits else ""
        items.append(f"<li>{escape(_words(name))} <b>{number(value)}</b>{limit}</li>")
    others = {name: value for name, value in limits.items() if name not in values}
    items += [f"<li>limit {escape(_words(name))} <b>{number(value)}</b></li>" for name, value in others.items()]
    return f'<ul class="figures">{"".join(items)}</ul>' if items else ""


def _words(name: str) -> str:
    return name.replace("_", " ")


def interval_plot(value: float, low: float, high: float, reach: float) -> str:
    """Return a difference and its interval as a line, a dot and a zero; the numbers stand beside it.

    Args:
        value: the difference.
        low: lower end of its interval.
        high: upper end.
        reach: largest difference on the scale, above 0.
    """

    def x(v: float) -> str:
        return f"{100 + 96 * max(-1.0, min(1.0, v / reach)):.1f}"

    return (
        '<svg class="plot" viewBox="0 0 200 20" aria-hidden="true">'
        '<line class="zero" x1="100" x2="100" y1="0" y2="20"/>'
        f'<line x1="{x(low)}" x2="{x(high)}" y1="10" y2="10"/><circle cx="{x(value)}" cy="10" r="5"/></svg>'
    )
