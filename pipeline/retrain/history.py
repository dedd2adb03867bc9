"""The page of a model's history: which version was champion when, by which plan, and everything that people said.

Written from the ledger alone, so it can be written again at any time; `write_pages` does that, and adds to the pages of
plans how they ended.
"""

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from pipeline.core import storage
from pipeline.explain.page import document
from pipeline.retrain import report
from pipeline.retrain.decisions import Event, Hold, utc
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.pieces import STYLE, mark, section, table, when
from pipeline.retrain.records import PlanRow
from pipeline.retrain.timeline import LEGEND, Moment, draw, moments, reigns


def write_pages(ledger: Ledger, model: str, root: str, plan_keys: Iterable[str] = ()) -> str:
    """Write the history of a model, and anew the pages of plans; returns the history's path or URI.

    Args:
        ledger: of the model's plans.
        model: registered name.
        root: run storage.
        plan_keys: plans whose pages are to say how they ended; those without a verdict have none.

    Raises:
        UserError: the evidence of such a plan is not what was judged, or one of its batches is gone.
    """
    for key in plan_keys:
        row = ledger.row(key)
        if row is not None and row.verdict is not None:
            folder = report.folder_of(root, key)
            report.write(report.read(ledger, key, folder), folder)
    uri = storage.join(root, page_name(model))
    said = ledger.events(), ledger.held(), ledger.unfinished_rollback(model)
    storage.publish_bytes(uri, render(model, ledger.rows(model), *said).encode())
    return uri


def page_name(model: str) -> str:
    """Return the name of a model's history page."""
    return f"history-{model}.html"


def render(
    model: str, rows: Sequence[PlanRow], events: Sequence[Event], hold: Hold | None, unfinished: int | None = None
) -> str:
    """Return the page as HTML text.

    Args:
        model: registered name.
        rows: its plans.
        events: the ledger's lines, of other models too.
        hold: in force.
        unfinished: version whose rollback was killed before its alias had moved for sure.
    """
    found = moments(model, rows, events)
    body = (
        f'<header><p class="soft">history of retraining</p><h1>{escape(model)}</h1>'
        f"{_now(rows, found, hold, unfinished)}</header>",
        "<main>",
        section("Champions", _champions(rows, found)),
        section("Everything that happened, latest first", _list(rows, found)),
        "</main>",
    )
    return document(f"{model}: history of retraining", "".join(body), STYLE)


def _now(rows: Sequence[PlanRow], found: Sequence[Moment], hold: Hold | None, unfinished: int | None) -> str:
    """Say who is champion, what is in work, and whether people have stopped it."""
    champion = found[-1].champion if found else rows[0].plan.champion if rows else None
    lines = [
        f"Plan {row.plan.plan_key[:8]} is in work since {when(utc(row.began))}." for row in rows if not row.outcome
    ]
    if hold is not None:
        lines.append(f"Retraining is on hold since {when(hold.since)}: {hold.reason}, says {hold.who}.")
    if unfinished is not None:
        lines.append(f"The rollback of version {unfinished} is unfinished: start jobs/rollback.py again.")
    known = f"Version {champion} is champion." if champion is not None else "The ledger knows no champion: see MLflow."
    stopped = f"{mark('open', 'on hold')} " if hold else ""
    return f'<p class="verdict">{stopped}{known}</p>' + "".join(f"<p>{escape(line)}</p>" for line in lines)


def _champions(rows: Sequence[PlanRow], found: Sequence[Moment]) -> str:
    if not rows:
        return "<p>No plan has begun yet.</p>"
    lines = []
    for reign in reversed(reigns(rows, found)):
        time = f"{when(reign.since)} until {when(reign.until) or 'now'}".strip()
        lines.append((f"v{reign.version}", f"{escape(reign.how)}<br><small>{time}</small>"))
    drawn = draw(rows[0].plan.champion, found)
    legend = f"The champion's version over the latest moments: {LEGEND}. The list below says the same in words."
    figure = (
        '<figure><div class="wide" tabindex="0" role="group" aria-label="drawing of champions">'
        f"{drawn}</div><figcaption>{legend}</figcaption></figure>"
    )
    return table("", ("version", "how it became champion, and when"), lines, "named") + (figure if drawn else "")


def _list(rows: Sequence[PlanRow], found: Sequence[Moment]) -> str:
    judged = {row.plan.plan_key for row in rows if row.verdict is not None}
    items = []
    for moment in reversed(found):
        key, link = moment.plan_key, ""
        if key in judged:
            address = quote(f"{report.PLANS}/{key[:16]}/{report.PAGE}")
            link = f' <a href="{address}">page of plan {escape(key[:8])}</a>'
        time = f'<time datetime="{moment.at}">{when(moment.at)}</time>'
        items.append(f"<li>{mark(moment.state, moment.word)} {time}<p>{escape(moment.text)}.{link}</p></li>")
    return f'<ol class="line">{"".join(items)}</ol>' if items else "<p>Nothing yet.</p>"
