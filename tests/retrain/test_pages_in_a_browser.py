"""Both pages in a real browser, as wide as a desk and as a telephone, by day and by night."""

import numpy as np
import pytest

from pipeline.explain.page import webp
from pipeline.retrain import history, report
from pipeline.retrain.decisions import Event
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.lineage import BatchShare
from pipeline.retrain.night import Trained
from pipeline.retrain.records import PlanRow
from pipeline.retrain.strips import Moved, Strip
from pipeline.retrain.verdict import GateResult, Verdict

CLASSES = tuple(f"Failing to put something into something because something does not fit, {k}" for k in range(30))


@pytest.fixture(scope="module")
def addresses(plan_of, tmp_path_factory):
    """A page of a plan and a history, with texts of the longest kind; returns their addresses."""
    rng = np.random.default_rng(0)
    plan = plan_of(["b" * 64], key="0a1b2c3d" * 8)
    scored = Scored(
        ids=tuple(map(str, range(300))),
        classes=CLASSES,
        label_N=tuple(n % 30 for n in range(300)),
        champion_N=tuple(map(bool, rng.random(300) < 0.5)),
        candidate_N=tuple(map(bool, rng.random(300) < 0.5)),
    )
    evidence = Evidence(
        scored=scored,
        edited=CLASSES[:4],
        attention=Attention(
            heldout_videos=1,
            heldout_before=0.1,
            heldout_after=0.2,
            inversion_before=1.0,
            inversion_after=2.0,
            spread_before=0.1,
            spread_after=0.1,
        ),
        health=BatchHealth(
            clips=4, kappa=None, doubled=0, flagged=0.0, levels=(0.4, 0.3, 0.3), unset=0.0, by_class={CLASSES[0]: 4}
        ),
        integrity=Integrity(
            finite=True,
            extractor_identical=True,
            parameters_before=1,
            parameters_after=1,
            latency_before_ms=1.0,
            latency_after_ms=1.0,
        ),
    )
    answers = [(True, "harm", True), (False, "harm", True), (False, "benefit", True), (True, "harm", False)]
    results = tuple(
        GateResult(
            gate=f"gate_{n}",
            passed=passed,
            figures={f"some_figure_{i}": i / 7 for i in range(6)},
            limits={"some_figure_0": 0.3, "another": 1.0},
            sentence=f"What was found in {CLASSES[n]}.",
            kind=kind,
            judged=judged,
        )
        for n, (passed, kind, judged) in enumerate(answers)
    )
    verdict = Verdict(passed=False, policy="standard-1@0123456789ab", results=results)
    moved = Moved(video="v" * 60, label=CLASSES[0], before=CLASSES[1], after=CLASSES[0], change=0.3)
    share = BatchShare(
        batch="b" * 64, uri="u", added_by="p", trained=("v",), held_out=(), superseded=(), annotators=("a" * 64,)
    )
    page = report.PlanPage(
        plan=plan,
        trained=Trained(run_id="f" * 32, checkpoint=f"s3://bucket/runs/{'c' * 60}"),
        evidence=evidence,
        verdict=verdict,
        strips=(Strip(moved=moved, image=webp(np.zeros((200, 1700, 3), np.uint8))),),
        batches=(share,),
    )
    row = PlanRow(
        plan=plan, began=0.0, verdict={"results": []}, decided=60.0, version=2, outcome="promoted", ended=3600.0
    )
    kinds = [("finish", {"outcome": "promoted", "version": 2}), ("roll_back", {"reason": "worse " * 40})]
    events = [
        Event(
            sequence=n, at="2026-01-01T00:00:00+00:00", actor="Ada", action=action, subject=plan.plan_key, detail=told
        )
        for n, (action, told) in enumerate(kinds)
    ]
    folder = tmp_path_factory.mktemp("pages")
    texts = {"report": report.render(page), "history": history.render(plan.model, [row], events, None)}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: (folder / f"{name}.html").as_uri() for name in texts}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["report", "history"])
def test_a_page_fits_and_axe_finds_no_violation(chromium, addresses, name, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is missing").Axe()
    page = chromium.new_page(viewport={"width": width, "height": 844})
    faults = []
    page.on("console", lambda message: faults.append(message.text))
    page.goto(addresses[name])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page)
        assert found.violations_count == 0, found.generate_report()
    assert faults == []  # what the content policy refuses is told there
    page.close()
