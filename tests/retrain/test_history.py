"""The page of champions, from a real ledger: promotions, refusals, rollback, hold, override, and hostile reasons."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.retrain import history, report
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.timeline import LANE, LEFT, RIGHT, TOP, WIDTH, Moment, draw, moments, reigns
from pipeline.retrain.verdict import GateResult, Verdict

MODEL = "star-tiny"
HOSTILE = "<script>alert(1)</script>\" onload='x' & more"
EVIDENCE = Evidence(
    scored=Scored(ids=("v",), classes=("a",), label_N=(0,), champion_N=(True,), candidate_N=(True,)),
    edited=("a",),
    attention=Attention(
        heldout_videos=0,
        heldout_before=None,
        heldout_after=None,
        inversion_before=1.0,
        inversion_after=1.0,
        spread_before=0.1,
        spread_after=0.1,
    ),
    health=BatchHealth(
        clips=1, kappa=None, doubled=0, flagged=0.0, levels=(1.0, 0.0, 0.0), unset=0.0, by_class={"a": 1}
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


class Page(HTMLParser):
    """Elements, text, and the items of the list, latest first."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.items, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if tag == "li":
            self.items.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)
        if "li" in self.open:
            self.items[-1] += f"{data} "

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def gate(name, passed, kind="harm"):
    return GateResult(gate=name, passed=passed, figures={}, limits={}, sentence=name, kind=kind)


GOOD = (gate("overall", True), gate("classes", True))
BAD = (gate("overall", True), gate("classes", False))
USELESS = (gate("overall", True), gate("edited_better", False, "benefit"))


class Nights:
    """A model's nights in a real ledger; the clock moves an hour with each thing that happens."""

    def __init__(self, ledger, clock, plan_of, root):
        self.ledger, self.clock, self.plan_of, self.root = ledger, clock, plan_of, root

    def night(self, name, champion, results, version=None, model=MODEL):
        plan = replace(
            self.plan_of([name], champion, key=f"{name}-" + "k" * 40, model=model), batches=(), batch_uris={}
        )
        return self.work(plan, results, version)

    def work(self, plan, results, version=None):
        self.clock.now += 3600
        key, lease = plan.plan_key, self.ledger.lease(plan.model, "job", 1e6)
        self.ledger.begin(plan, lease)
        storage.write_json(storage.join(report.folder_of(self.root, key), report.EVIDENCE), to_dict(EVIDENCE))
        self.ledger.step_done(key, lease, "trained", {"run_id": "r", "checkpoint": "c", "training_list": "t"})
        verdict = Verdict(passed=all(one.passed for one in results), policy="standard-1@00", results=results)
        self.ledger.decide(key, lease, to_dict(verdict))
        if version is not None:
            with self.ledger.moving(key, lease, version):
                pass
        self.ledger.finish(key, lease, "refused" if version is None else "promoted")
        self.ledger.release(lease)
        return plan

    def people(self, action, *arguments):
        self.clock.now += 3600
        getattr(self.ledger, action)(*arguments)

    def moments(self):
        return moments(MODEL, self.ledger.rows(MODEL), self.ledger.events())

    def page(self):
        shown = history.render(MODEL, self.ledger.rows(MODEL), self.ledger.events(), self.ledger.held())
        return Page(shown)


@pytest.fixture
def nights(lite, clock, plan_of, tmp_path):
    return Nights(lite, clock, plan_of, str(tmp_path))


@pytest.fixture
def long_story(nights):
    """Promoted, refused, kept, held, released, rolled back, overridden, promoted again; and another model's night."""
    first = nights.night("one", 1, GOOD, version=2)
    second = nights.night("two", 2, BAD)
    nights.night("three", 2, USELESS)
    nights.night("other", 5, GOOD, version=6, model="another")
    nights.people("hold", "Grace", HOSTILE)
    nights.people("release_hold", "Grace", "looked")
    nights.people("rolled_back", MODEL, 2, first.plan_key, "Ada", "worse on doors")
    with nights.ledger.moving_back(MODEL, 2, "Ada"):
        pass
    nights.people("leave_out", "another", "b", "Ada", "theirs")
    nights.people("override", first.plan_key, "Ada", "doors were mislabelled")
    nights.work(first, GOOD, version=2)
    return first, second


def test_everything_that_happened_is_told_in_order(nights, long_story):
    first, _ = long_story
    found = nights.moments()
    assert [moment.word for moment in found] == [
        "promoted",
        "refused",
        "champion kept",
        "hold",
        "released",
        "rolled back",
        "left out",
        "override",
        "taken back",
        "promoted",
    ]
    assert [moment.champion for moment in found] == [2, 2, 2, 2, 2, 1, 1, 1, 1, 2]
    assert [moment.state for moment in found[:3]] == ["passed", "failed", "note"]
    assert "1 of 2 gates against it: classes" in found[1].text
    assert "all gates let it pass" in found[0].text
    assert "version 2 follows version 1" in found[0].text
    assert found[5].plan_key == first.plan_key
    assert [moment.at for moment in found] == sorted(moment.at for moment in found)


def test_reigns_follow_each_other_without_a_gap(nights, long_story):
    found = reigns(nights.ledger.rows(MODEL), nights.moments())
    assert [reign.version for reign in found] == [1, 2, 1, 2]
    assert found[0].since == found[-1].until == ""
    assert [reign.until for reign in found[:-1]] == [reign.since for reign in found[1:]]
    assert found[2].how.startswith("rolled back: plan one-kkkk, version 2; Ada: worse on doors")


def test_the_page_says_who_is_champion_now(nights, long_story):
    assert "Version 2 is champion." in nights.page().text
    nights.people("hold", "Grace", "audit")
    page = nights.page()
    assert "on hold" in page.text.partition("Version 2 is champion.")[0]
    hold = nights.ledger.held()
    assert f"Retraining is on hold since {hold.since[:10]} {hold.since[11:19]} UTC: audit, says Grace." in page.text


def test_a_plan_in_work_is_named(nights, long_story):
    plan = nights.plan_of(["four"], 2, key="four-" + "k" * 40)
    nights.ledger.begin(plan, nights.ledger.lease(MODEL, "job", 1e6))
    assert "Plan four-kkk is in work since " in nights.page().text
    assert len(nights.page().items) == 10


def test_nothing_is_fetched_nothing_runs_and_hostile_reasons_are_text(nights, long_story):
    page = nights.page()
    assert page.open == []
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "base", "img")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert HOSTILE in page.text
    (item,) = [item for item in page.items if HOSTILE in item]
    assert "hold" in item


def test_every_judged_plan_is_linked_to_the_page_that_is_there(nights, long_story, tmp_path):
    keys = [row.plan.plan_key for row in nights.ledger.rows(MODEL)]
    uri = history.write_pages(nights.ledger, MODEL, str(tmp_path), keys)
    assert uri == str(tmp_path / "history-star-tiny.html")
    page = Page((tmp_path / "history-star-tiny.html").read_text())
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert len(links) == 3
    assert all((tmp_path / unquote(link)).is_file() for link in links)
    promoted = (tmp_path / report.PLANS / keys[0][:16] / report.PAGE).read_text()
    assert "version 2 of star-tiny" in promoted
    assert "overridden by Ada: doors were mislabelled." in promoted


def test_written_again_from_the_same_ledger_it_is_the_same(nights, long_story, tmp_path):
    uri = history.write_pages(nights.ledger, MODEL, str(tmp_path))
    first = storage.read_bytes(uri)
    history.write_pages(nights.ledger, MODEL, str(tmp_path))
    assert storage.read_bytes(uri) == first


def test_a_model_without_a_plan_has_a_page(lite):
    page = Page(history.render("<new>", lite.rows("<new>"), lite.events(), lite.held()))
    assert "No plan has begun yet." in page.text
    assert "<new>" in page.text
    assert page.open == []


def test_a_rollback_of_peoples_own_version_leaves_the_champion_to_mlflow(nights):
    nights.night("one", 3, BAD)
    nights.people("rolled_back", MODEL, 3, "", "Ada", "never good")
    (refused, back) = nights.moments()
    assert (refused.champion, back.champion) == (3, None)
    assert back.text == "version 3; Ada: never good"
    assert "see MLflow" in nights.page().text


def test_a_killed_rollback_is_to_be_finished(nights, tmp_path):
    plan = nights.night("one", 1, GOOD, version=2)
    nights.people("rolled_back", MODEL, 2, plan.plan_key, "Ada", "worse on doors")
    address = history.write_pages(nights.ledger, MODEL, str(tmp_path))
    said = "The rollback of version 2 is unfinished: start jobs/rollback.py again."
    assert said in Page(storage.read_bytes(address).decode()).text
    with nights.ledger.moving_back(MODEL, 2, "Ada"):
        pass
    assert history.write_pages(nights.ledger, MODEL, str(tmp_path)) == address
    assert said not in Page(storage.read_bytes(address).decode()).text


def test_the_drawing_steps_up_and_down_with_the_champion():
    common = {"at": "2026-01-01T00:00:00+00:00", "state": "note", "word": "w", "text": "t", "plan_key": ""}
    svg = draw(1, [Moment(champion=champion, **common) for champion in (2, 2, 1)])
    (points,) = re.findall(r'<polyline class="line" points="([^"]+)"', svg)
    step, high, low = (WIDTH - LEFT - RIGHT) / 3, TOP + LANE / 2, TOP + 1.5 * LANE
    expected = [(LEFT, low), (LEFT + step / 2, low), (LEFT + step / 2, high), (LEFT + 1.5 * step, high)]
    expected += [(LEFT + 1.5 * step, high), (LEFT + 2.5 * step, high), (LEFT + 2.5 * step, low), (WIDTH - RIGHT, low)]
    assert [tuple(map(float, point.split(","))) for point in points.split()] == [
        (pytest.approx(x, abs=0.06), pytest.approx(y, abs=0.06)) for x, y in expected
    ]
    assert draw(1, []) == ""
