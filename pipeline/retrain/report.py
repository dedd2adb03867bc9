"""The page of a plan: what was decided and why, first; then everything that it was decided from.

It stands alone, for somebody who reads it on a telephone at night. Written from the plan, its evidence and its verdict,
it holds no clock and is the same bytes whenever it is written; how the plan ended is added once that is known.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import numpy.typing as npt

from pipeline.core import storage
from pipeline.core.config import from_dict
from pipeline.core.errors import UserError, problem
from pipeline.eval.compare import Paired, paired
from pipeline.explain.page import data_uri, definitions, document
from pipeline.retrain.decisions import Event, utc
from pipeline.retrain.evidence import Evidence, Scored
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.lineage import BatchShare, shares
from pipeline.retrain.night import Trained
from pipeline.retrain.pieces import (
    STYLE,
    State,
    chance,
    details,
    figures,
    interval_plot,
    mark,
    number,
    section,
    signed,
    table,
    when,
)
from pipeline.retrain.plan import Plan
from pipeline.retrain.records import PlanRow
from pipeline.retrain.strips import STRIPS, Strip, read_strips
from pipeline.retrain.verdict import GateResult, Verdict

PLANS, PAGE, EVIDENCE, LIST = "plans", "report.html", "evidence.json", "list.json"
ORDER: tuple[State, ...] = ("failed", "note", "open", "passed")
"""Of gates."""
SHOWN = 8
"""Classes that lost or gained most, shown before all others."""
OUTCOMES: dict[str, tuple[State, str]] = {
    "promote": ("passed", "passed"),
    "keep": ("note", "champion kept"),
    "refuse": ("failed", "refused"),
}
"""How verdicts are marked."""
FEW = 24
"""Classes that are all shown at once."""


@dataclass(frozen=True, kw_only=True)
class PlanPage:
    """Everything that a page is written from."""

    plan: Plan
    trained: Trained
    evidence: Evidence
    verdict: Verdict
    strips: tuple[Strip, ...] = ()
    batches: tuple[BatchShare, ...] = ()
    row: PlanRow | None = None
    """How the ledger has the plan; None before its end, which pages must not wait for."""
    said: tuple[Event, ...] = ()
    """What people said of the plan: overrides and rolling back."""
    passport: str = ""
    """Catalog digest of the data that both were compared on."""


def folder_of(root: str, plan_key: str) -> str:
    """Return the folder of a plan's files in the run storage."""
    return storage.join(root, PLANS, plan_key[:16])


def write(page: PlanPage, folder: str) -> str:
    """Write a plan's page into its folder; returns the page's path or URI."""
    uri, listed = storage.join(folder, PAGE), storage.join(folder, LIST)
    passport = str(storage.read_json(listed)["passport"]) if storage.exists(listed) else page.passport
    storage.publish_bytes(uri, render(replace(page, passport=passport)).encode())
    return uri


def read(ledger: Ledger, plan_key: str, folder: str) -> PlanPage:
    """Gather a plan's page from the ledger and from the plan's folder.

    Raises:
        UserError: there is no such plan, it has no verdict yet, or its evidence is not what was judged.
    """
    row, facts = ledger.row(plan_key), ledger.facts(plan_key)
    if row is None or row.verdict is None or "trained" not in facts:
        got, fix = "no such plan" if row is None else "no verdict", "wait until it is judged"
        raise UserError(problem(f"Plan {plan_key} has no page", got=got, allowed="a judged plan", fix=fix))
    uri = storage.join(folder, EVIDENCE)
    evidence = storage.read_json(uri)
    recorded = facts.get("scored", {}).get("evidence")
    if recorded is not None and storage.sha256_json(evidence) != recorded:
        what, fix = f"The evidence of plan {plan_key} is not what was judged", "bring the file back from a copy"
        raise UserError(problem(what, got=uri, allowed=f"JSON of SHA-256 {recorded}", fix=fix))
    said = tuple(e for e in ledger.events() if e.subject == plan_key and e.action in ("override", "roll_back"))
    return PlanPage(
        plan=row.plan,
        trained=from_dict(Trained, facts["trained"]),
        evidence=from_dict(Evidence, evidence),
        verdict=from_dict(Verdict, row.verdict),
        strips=read_strips(storage.join(folder, STRIPS)),
        batches=shares(row.plan, ledger.used(row.plan.model, row.plan.champion)),
        row=row,
        said=said,
    )


def render(page: PlanPage) -> str:
    """Return the page as HTML text."""
    plan, evidence = page.plan, page.evidence
    state, word, sentence = headline(page)
    title = f"{plan.model}: plan {plan.plan_key[:8]} {word}"
    body = [
        f'<header><p class="soft">{escape(plan.model)}, plan {plan.plan_key[:16]}</p>'
        f'<h1 class="verdict">{mark(state, word)} {escape(sentence)}</h1></header><main>',
        f'<div class="what">{"".join(f"<p>{line}</p>" for line in _what_now(page))}</div>',
        section("Gates", _gates(page.verdict)),
        section("Top-1", _groups(evidence)),
        section("Classes", _classes(evidence)),
        section("Attention", _attention(evidence)),
        section("Batches", _health(evidence) + _batches(page.batches)),
        section("Clips whose attention changed most", _strips(page.strips)) if page.strips else "",
        section("Where it comes from", _lineage(page)),
        "</main>",
    ]
    return document(title, "".join(body), STYLE)


def headline(page: PlanPage) -> tuple[State, str, str]:
    """Return the state of a plan, the word for it, and why."""
    row, why = page.row, page.verdict.sentence
    last = page.said[-1] if page.said else None
    if last is not None and last.action == "roll_back":
        return "failed", "rolled back", f"by {last.actor}: {last.reason}"
    if row is not None and row.outcome == "promoted":
        unjudged = sum(not result.judged for result in page.verdict.results)
        gates = "all gates let it pass" + (f", {unjudged} of them unjudged" if unjudged else "")
        because = f"overridden by {last.actor}: {last.reason}. {why}" if last else f"{gates}."
        return "passed", "promoted", f"version {row.version} of {page.plan.model}, {because}"
    if row is not None and row.outcome == "superseded":
        return "open", "superseded", "the champion changed before it could be promoted."
    if row is not None and row.outcome == "failed":
        return "open", "failed", "it was given up before its end."
    if last is not None:
        return "open", "overridden", f"by {last.actor}: {last.reason}. {why}"
    return OUTCOMES[page.verdict.outcome] + (why,)


def _what_now(page: PlanPage) -> list[str]:
    """Return what follows for whoever is on call, as HTML."""
    plan, (_, word, _) = page.plan, headline(page)
    champion, said = f"version {plan.champion}", "--by NAME --reason REASON"
    override = f"<code>jobs/retrain.py --model {escape(plan.model)} --override {escape(plan.plan_key)} {said}</code>"
    if word in ("refused", "champion kept"):
        return [
            f"Nothing needs to be done tonight: {champion} stays champion.",
            "The batches are kept. They are tried again with the next batch, or under another policy.",
            f"To promote it all the same: {override}",
        ]
    if word == "promoted":
        back = f"<code>jobs/rollback.py --model {escape(plan.model)} --ledger LEDGER {said}</code>"
        return [f"It follows {champion}. To go back: {back}"]
    if word == "rolled back":
        return [
            "It is not promoted again, and its new batches are left out of coming plans, until somebody overrides: "
            f"{override}"
        ]
    if word == "superseded":
        return ["Nothing needs to be done: its batches are new again, and the next night compares with the champion."]
    if word == "failed":
        return [f"The next night takes up its batches again. Look at the log of run {plan.plan_key[:16]} first."]
    return ["The history page says whether it became champion. Started again, the job goes on from here."]


def _gates(verdict: Verdict) -> str:
    """What stands against the candidate first, in the policy's order otherwise."""
    ordered = sorted(verdict.results, key=lambda result: ORDER.index(gate_state(result)))
    rows = [(gate_state(result), (mark(gate_state(result), result.word.lower()), _gate(result))) for result in ordered]
    heads, passed = ("result", "gate"), [row for state, row in rows if state == "passed"]
    against = [row for state, row in rows if state != "passed"]
    policy = f"<p>Policy {escape(verdict.policy)}.</p>"
    rest = details(f"{len(passed)} of {len(rows)} gates passed", table("", heads, passed), shown=not against)
    return policy + (table("", heads, against) if against else "") + rest


def gate_state(result: GateResult) -> State:
    """Return how a gate is marked."""
    if result.passed:
        return "passed" if result.judged else "open"
    return "failed" if result.kind == "harm" or not result.judged else "note"


def _gate(result: GateResult) -> str:
    shown = figures(result.figures, result.limits)
    return f"<p><strong>{escape(result.gate)}</strong></p><p>{escape(result.sentence)}</p>{shown}"


def _groups(evidence: Evidence) -> str:
    scored = evidence.scored
    edited_K = np.isin(np.array(scored.classes), evidence.edited)
    label_N = np.array(scored.label_N, np.int64)
    chosen = {"edited classes": edited_K[label_N], "other classes": ~edited_K[label_N]}
    groups = {**chosen, "all": np.ones(len(label_N), np.bool_)}
    rows = [_change(escape(name), _among(scored, in_N)) for name, in_N in groups.items()]
    names = ", ".join(map(escape, evidence.edited)) or "none"
    caption = f"{len(label_N)} videos, each answered by both. Edited classes: {names}."
    return table(caption, ("group", "change in points"), [row[:2] for row in rows], "pairs")


@dataclass(frozen=True)
class Change:
    """What the candidate changed among some videos."""

    before: int
    """Right answers of the champion."""
    after: int
    """Right answers of the candidate."""
    pair: Paired


def _among(scored: Scored, in_N: npt.NDArray[np.bool_]) -> Change:
    champion_N = np.array(scored.champion_N, np.bool_)[in_N]
    candidate_N = np.array(scored.candidate_N, np.bool_)[in_N]
    return Change(int(champion_N.sum()), int(candidate_N.sum()), paired(champion_N, candidate_N))


def _change(name: str, change: Change, reach: float = 1.0) -> tuple[str, str, str]:
    """Return a line: name and counts, the difference with its interval, and a drawing of that."""
    pair = change.pair
    if not pair.videos:
        return f"{name}<br><small>no video</small>", "not measured", ""
    shares = f"{100 * change.before / pair.videos:.2f} → {100 * change.after / pair.videos:.2f} %"
    counts = f"{change.before} → {change.after} of {pair.videos} videos: +{pair.gained} -{pair.lost}"
    found = pair.difference()
    value, low, high = (100 * v for v in (found.value, found.low, found.high))
    text = f"<b>{signed(value)}</b><br><small>95 %: {signed(low)} to {signed(high)}; {chance(pair.p_value())}</small>"
    drawing = interval_plot(value, low, high, reach)
    return f"{name}<br><small>{shares}; {counts}</small>", text, drawing


def class_changes(scored: Scored) -> list[tuple[int, Change]]:
    """Return what changed in every class that has videos: largest loss first, then by class index."""
    label_N = np.array(scored.label_N, np.int64)
    found = [(k, _among(scored, label_N == k)) for k in range(len(scored.classes)) if (label_N == k).any()]
    return sorted(found, key=lambda one: ((one[1].pair.gained - one[1].pair.lost) / one[1].pair.videos, one[0]))


def _classes(evidence: Evidence) -> str:
    changes = class_changes(evidence.scored)
    ends = [end for _, change in changes for end in (change.pair.difference().low, change.pair.difference().high)]
    reach = max((100 * abs(end) for end in ends), default=0.0) or 1.0

    def shown(part: Sequence[tuple[int, Change]], caption: str) -> str:
        rows = []
        for k, change in part:
            text = evidence.scored.classes[k]
            edited = " <small>(edited)</small>" if text in evidence.edited else ""
            rows.append(_change(escape(text) + edited, change, reach))
        return table(caption, ("class", "change in points", "interval"), rows, "pairs plots")

    if len(changes) <= FEW:
        return shown(changes, "Largest loss first.")
    lost, gained = changes[:SHOWN], changes[-SHOWN:][::-1]
    every = details(f"All {len(changes)} classes", shown(changes, "Largest loss first."))
    return shown(lost, f"The {SHOWN} classes that lost most.") + shown(gained, f"The {SHOWN} that gained most.") + every


def _attention(evidence: Evidence) -> str:
    a = evidence.attention
    rows = [
        (f"distance to held-out edits, mean square, {a.heldout_videos} videos", a.heldout_before, a.heldout_after),
        ("points of top-1 that turning both attentions round costs", a.inversion_before, a.inversion_after),
        ("spread of temporal attention over a clip's frames", a.spread_before, a.spread_after),
    ]
    lines = [(escape(name), number(before), number(after)) for name, before, after in rows]
    return table("", ("measure", ">champion", ">candidate"), lines)


def _health(evidence: Evidence) -> str:
    health = evidence.health
    levels = ", ".join(
        f"{100 * share:.1f} % at {level}" for share, level in zip(health.levels, ("0", "½", "1"), strict=True)
    )
    said = {
        "clips in the new batches": str(health.clips),
        "agreement of two people (kappa)": f"{number(health.kappa)}, over {health.doubled} clips",
        "flagged as not to be judged": f"{100 * health.flagged:.1f} %",
        "scores that people set": levels,
        "frames left unset": f"{100 * health.unset:.1f} %",
        "steadiness over frames (random answers: 0)": number(health.steadiness),
    }
    by_class = [(escape(name), str(count)) for name, count in health.by_class.items()]
    return definitions(said) + details("Clips of each class", table("", ("class", ">clips"), by_class))


def _batches(batches: Sequence[BatchShare]) -> str:
    rows = [
        (
            f"<code>{escape(share.batch[:16])}</code>",
            str(len(share.trained)),
            str(len(share.held_out)),
            str(len(share.superseded)),
        )
        for share in batches
    ]
    heads = ("batch", ">trained on", ">held out", ">superseded")
    return f"{table('Videos of every batch that the candidate learnt from.', heads, rows)}" if rows else ""


def _strips(strips: Sequence[Strip]) -> str:
    return "".join(
        f'<figure><div class="wide" tabindex="0" role="group" aria-label="strip of {escape(strip.video)}">'
        f'<img src="{data_uri(strip.image, "webp")}" alt="{escape(strip.words())}"></div>'
        f"<figcaption>{escape(strip.words())}</figcaption></figure>"
        for strip in strips
    )


def _lineage(page: PlanPage) -> str:
    plan, integrity = page.plan, page.evidence.integrity
    people = sorted({one for share in page.batches for one in share.annotators})
    said = {
        "plan": plan.plan_key,
        "compared with": f"version {plan.champion}, MLflow run {plan.champion_run}",
        "candidate": f"MLflow run {page.trained.run_id}, {page.trained.checkpoint}",
        "training started from": plan.base,
        "code": plan.code,
        "policy": page.verdict.policy,
        "new batches": ", ".join(plan.new_batches),
        "all batches": ", ".join(plan.batches),
        "annotators": f"{len(people)}: {', '.join(people)}" if people else "",
        "prepared data": str(plan.recipe.get("data", {}).get("root", "")),
        "catalog digest (passport)": page.passport,
        "training list SHA-256": page.trained.training_list,
        "tracked at": str(plan.recipe.get("tracking", {}).get("uri", "")),
        "parameters": f"{number(integrity.parameters_before)} → {number(integrity.parameters_after)}",
        "latency of a clip": f"{number(integrity.latency_before_ms)} → {number(integrity.latency_after_ms)} ms",
        "weights are finite": "yes" if integrity.finite else "NO",
        "extractor is the base's to the bit": "yes" if integrity.extractor_identical else "NO",
    }
    if page.row is not None:
        times = {"began": page.row.began, "decided": page.row.decided, "ended": page.row.ended}
        said |= {name: when(utc(at)) for name, at in times.items() if at is not None}
    recipe = json.dumps(plan.recipe, indent=1, sort_keys=True, ensure_ascii=False)
    shown = {name: value for name, value in said.items() if value}
    return definitions(shown) + details("Recipe", f"<pre><code>{escape(recipe)}</code></pre>")
