"""The page of a plan: it stands alone, shows what was judged and nothing else, and escapes what it is given."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.explain.page import webp
from pipeline.retrain import report
from pipeline.retrain.decisions import Event
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.lineage import BatchShare
from pipeline.retrain.night import Trained
from pipeline.retrain.pieces import MARKS, chance, interval_plot, number, when
from pipeline.retrain.records import PlanRow
from pipeline.retrain.strips import Moved, Strip
from pipeline.retrain.verdict import GateResult, Verdict

HOSTILE = "<script>alert(1)</script>\" onload='x' & more"
CLASSES = ("Opening a door", HOSTILE, "Closing a door")
VOID = {"meta", "img", "br"}
LABEL, CHAMPION, CANDIDATE = "0000111122", "1100110010", "1111000011"
"""True class and who is right, a digit a video."""


class Page(HTMLParser):
    """Elements, text, table rows as texts of their cells, and any imbalance of tags."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open, self.rows = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += f"{data} "

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def bits(text):
    return tuple(digit == "1" for digit in text)


EVIDENCE = Evidence(
    scored=Scored(
        ids=tuple(f"v{n}" for n in range(10)),
        classes=CLASSES,
        label_N=tuple(map(int, LABEL)),
        champion_N=bits(CHAMPION),
        candidate_N=bits(CANDIDATE),
    ),
    edited=(CLASSES[0],),
    attention=Attention(
        heldout_videos=3,
        heldout_before=0.08125,
        heldout_after=None,
        inversion_before=31.5,
        inversion_after=40.6,
        spread_before=0.125,
        spread_after=0.0625,
    ),
    health=BatchHealth(
        clips=31,
        kappa=0.4375,
        doubled=7,
        flagged=0.125,
        levels=(0.5, 0.3, 0.2),
        unset=0.0625,
        by_class={CLASSES[0]: 12, HOSTILE: 19},
    ),
    integrity=Integrity(
        finite=True,
        extractor_identical=False,
        parameters_before=55_665_928,
        parameters_after=55_665_929,
        latency_before_ms=12.5,
        latency_after_ms=13.75,
    ),
)


def gate(name, passed, kind="harm", judged=True):
    figures = {"points": -1.234567, "videos": 24777.0, "p_worse": 0.00012}
    said = f"What {name} says."
    return GateResult(
        gate=name, passed=passed, figures=figures, limits={"points": -0.3}, sentence=said, kind=kind, judged=judged
    )


GATES = (
    gate("fine", True),
    gate("harmed", False),
    gate("useless", False, "benefit"),
    gate("unjudged", True, judged=False),
    gate("lacking", False, judged=False),
)
WORDS = {
    "fine": "passed",
    "harmed": "refused",
    "useless": "no benefit",
    "unjudged": "not judged",
    "lacking": "missing",
}


def verdict(*results):
    return Verdict(passed=all(one.passed for one in results), policy="standard-1@00", results=results)


@pytest.fixture(scope="module")
def made(plan_of):
    """A page of a refused plan, full of hostile texts."""
    plan = replace(plan_of([HOSTILE], key="a" * 64), code=HOSTILE, base=HOSTILE)
    moved = Moved(video=HOSTILE, label=CLASSES[0], before=HOSTILE, after=CLASSES[0], change=0.3125)
    return report.PlanPage(
        plan=plan,
        trained=Trained(run_id="run <i>", checkpoint="s3://b/c"),
        evidence=EVIDENCE,
        verdict=verdict(*GATES),
        strips=(Strip(moved=moved, image=webp(np.zeros((8, 8, 3), np.uint8))),),
        batches=(
            BatchShare(
                batch=HOSTILE,
                uri="u",
                added_by="p",
                trained=("a", "b"),
                held_out=("c",),
                superseded=(),
                annotators=(HOSTILE, "p2"),
            ),
        ),
    )


@pytest.fixture(scope="module")
def page(made):
    return Page(report.render(made))


def row_of(page, name):
    (found,) = [row for row in page.rows if any(cell.strip().startswith(name) for cell in row[:2])]
    return found


def test_nothing_is_fetched_and_nothing_runs(page):
    assert page.open == []
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "base", "form")]
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "data"):
                assert value.startswith("data:image/")
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_hostile_texts_are_shown_as_they_are(page):
    assert page.text.count(HOSTILE) >= 6  # class, batches, code, base, annotator, clip
    (picture,) = [attributes for tag, attributes in page.elements if tag == "img"]
    assert HOSTILE in picture["alt"]
    assert base64.b64decode(picture["src"].partition(",")[2]).startswith(b"RIFF")


def test_the_verdict_comes_first_and_says_why(made, page):
    heading = next(n for n, (tag, _) in enumerate(page.elements) if tag == "h1")
    assert not [tag for tag, _ in page.elements[:heading] if tag in ("table", "section", "img")]
    assert report.headline(made)[:2] == ("failed", "refused")
    assert "refused by harmed, useless, lacking" in page.text.partition("Gates")[0]
    assert "version 1 stays champion" in page.text.partition("Gates")[0]


def test_every_gate_has_its_word_its_sign_and_its_numbers(page):
    seen = set()
    for result in GATES:
        word, said = gate_row(page, result.gate)
        state = report.gate_state(result)
        assert word.split(maxsplit=1) == [MARKS[state], f"{WORDS[result.gate]} "]
        assert result.sentence in said
        assert re.sub(r"\s+", " ", said).endswith("points -1.235 (limit -0.3) videos 24,777 p worse 0.00012 ")
        seen.add((MARKS[state], WORDS[result.gate]))
    assert len(seen) == len(GATES)  # told apart without colour


def gate_row(page, name):
    (found,) = [row for row in page.rows if len(row) == 2 and row[1].strip().startswith(f"{name} ")]
    return found


def test_what_stands_against_the_candidate_comes_before_what_passed(page):
    order = [row[1].split()[0] for row in page.rows if len(row) == 2 and row[1].split()[:1][0] in WORDS]
    assert order == ["harmed", "lacking", "useless", "unjudged", "fine"]


@pytest.mark.parametrize(
    ("name", "chosen"), [("edited classes", "0"), ("other classes", "12"), ("all", "012"), (CLASSES[2], "2")]
)
def test_counts_are_those_of_the_answers(page, name, chosen):
    """Counted here digit by digit."""
    among = [n for n, k in enumerate(LABEL) if k in chosen]
    before, after = (sum(text[n] == "1" for n in among) for text in (CHAMPION, CANDIDATE))
    gained = sum(CHAMPION[n] < CANDIDATE[n] for n in among)
    lost = sum(CHAMPION[n] > CANDIDATE[n] for n in among)
    line = next(row for row in page.rows if row[0].strip().startswith(name) and "videos:" in row[0])
    shares = f"{100 * before / len(among):.2f} → {100 * after / len(among):.2f} %"
    assert f"{shares}; {before} → {after} of {len(among)} videos: +{gained} -{lost}" in line[0]
    assert line[1].split()[0] == f"{100 * (after - before) / len(among):+.2f}"


def test_classes_are_sorted_by_what_they_lost(page):
    names = [row[0] for row in page.rows if "videos:" in row[0]][3:]
    assert [name.startswith(CLASSES[k]) for name, k in zip(names, (1, 0, 2), strict=True)] == [True] * 3
    assert "(edited)" in names[1]
    assert "(edited)" not in names[0] + names[2]


def test_many_classes_show_the_most_changed_first_and_all_when_asked(made):
    classes = tuple(f"class {k:02d}" for k in range(40))
    scored = Scored(
        ids=tuple(map(str, range(40))),
        classes=classes,
        label_N=tuple(range(40)),
        champion_N=tuple(k < 3 for k in range(40)),
        candidate_N=tuple(k >= 37 for k in range(40)),
    )
    text = report.render(replace(made, evidence=replace(EVIDENCE, scored=scored, edited=("class 00",))))
    at_once, _, when_asked = text.partition("All 40 classes")
    assert [name in at_once for name in ("class 00", "class 02", "class 39", "class 20")] == [True, True, True, False]
    assert all(name in when_asked for name in classes)


def test_attention_health_and_integrity_are_the_evidences(page):
    assert row_of(page, "distance to held-out edits")[1:] == ["0.08125 ", "not measured "]
    assert row_of(page, "points of top-1")[1:] == ["31.5 ", "40.6 "]
    assert row_of(page, "spread of temporal")[1:] == ["0.125 ", "0.0625 "]
    for said in (
        "clips in the new batches 31",
        "0.4375, over 7 clips",
        "flagged as not to be judged 12.5 %",
        "50.0 % at 0, 30.0 % at ½, 20.0 % at 1",
        "frames left unset 6.2 %",
        "steadiness over frames (random answers: 0) not measured",
        "parameters 55,665,928 → 55,665,929",
        "latency of a clip 12.5 → 13.75 ms",
        "weights are finite yes",
        "extractor is the base's to the bit NO",
        "annotators 2: ",
    ):
        assert said in page.text, said
    (batch,) = [row for row in page.rows if len(row) == 4 and row[0].strip() == HOSTILE[:16]]
    assert batch[1:] == ["2 ", "1 ", "0 "]


def test_the_same_page_is_the_same_bytes_and_holds_no_clock(made, tmp_path):
    first = report.write(made, str(tmp_path))
    data = storage.read_bytes(first)
    assert report.write(replace(made), str(tmp_path)) == first
    assert storage.read_bytes(first) == data
    assert "UTC" not in data.decode()


def test_the_page_names_data_list_and_run(made, tmp_path):
    storage.write_json(str(tmp_path / report.LIST), {"passport": "p4ss", "videos": []})
    trained = replace(made.trained, training_list="1157")
    shown = Page(storage.read_bytes(report.write(replace(made, trained=trained), str(tmp_path))).decode()).text
    for said in ("catalog digest (passport) p4ss", "training list SHA-256 1157", "MLflow run run <i>, s3://b/c"):
        assert said in shown


def event(action, who, reason, key="a" * 64):
    return Event(sequence=1, at="now", actor=who, action=action, subject=key, detail={"reason": reason})


@pytest.mark.parametrize(
    ("outcome", "results", "said", "expected"),
    [
        (None, GATES[:1], (), ("passed", "passed", "may be promoted")),
        (None, (GATES[0], GATES[2]), (), ("note", "champion kept", "shows no benefit (useless)")),
        ("refused", GATES[:2], (), ("failed", "refused", "refused by harmed")),
        ("promoted", GATES[:1], (), ("passed", "promoted", "version 7 of star-tiny, all gates let it pass.")),
        ("promoted", (GATES[0], GATES[3]), (), ("passed", "promoted", "let it pass, 1 of them unjudged.")),
        ("promoted", GATES[:2], ("override",), ("passed", "promoted", "overridden by Ada: I looked.")),
        (None, GATES[:2], ("override",), ("open", "overridden", "by Ada: I looked")),
        ("promoted", GATES[:1], ("roll_back",), ("failed", "rolled back", "by Ada: I looked")),
        ("superseded", GATES[:1], (), ("open", "superseded", "the champion changed")),
        ("failed", GATES[:1], (), ("open", "failed", "given up")),
    ],
)
def test_the_headline_tells_how_it_ended(made, outcome, results, said, expected):
    row = PlanRow(
        plan=made.plan,
        began=0.0,
        verdict={},
        decided=60.0,
        version=7,
        outcome=outcome,
        ended=3600.0 if outcome else None,
    )
    people = tuple(event(action, "Ada", "I looked") for action in said)
    ended = replace(made, verdict=verdict(*results), row=row, said=people)
    state, word, sentence = report.headline(ended)
    assert (state, word) == expected[:2]
    assert expected[2] in sentence
    shown = Page(report.render(ended)).text
    assert sentence in shown
    assert ("1970-01-01 01:00:00 UTC" in shown) == (outcome is not None)


@pytest.fixture
def judged(made, lite, tmp_path):
    """A refused plan in a ledger and its folder, without batches on disk."""
    plan = replace(made.plan, batches=(), batch_uris={})
    lease = lite.lease(plan.model, "test", 1e6)
    lite.begin(plan, lease)
    folder = report.folder_of(str(tmp_path), plan.plan_key)
    evidence = to_dict(EVIDENCE)
    storage.write_json(storage.join(folder, report.EVIDENCE), evidence)
    lite.step_done(plan.plan_key, lease, "trained", to_dict(made.trained))
    lite.step_done(plan.plan_key, lease, "scored", {"evidence": storage.sha256_json(evidence)})
    return plan, lease, folder


def test_a_page_is_gathered_from_the_ledger_and_the_plans_folder(made, judged, lite):
    plan, lease, folder = judged
    with pytest.raises(UserError, match="no verdict"):
        report.read(lite, plan.plan_key, folder)
    lite.decide(plan.plan_key, lease, to_dict(made.verdict))
    lite.finish(plan.plan_key, lease, "refused")
    found = report.read(lite, plan.plan_key, folder)
    assert (found.plan, found.evidence, found.verdict, found.trained) == (plan, EVIDENCE, made.verdict, made.trained)
    assert found.row == lite.row(plan.plan_key)
    assert "refused" in report.render(found)


def test_evidence_that_was_not_judged_makes_no_page(made, judged, lite):
    plan, lease, folder = judged
    lite.decide(plan.plan_key, lease, to_dict(made.verdict))
    storage.write_json(storage.join(folder, report.EVIDENCE), {**to_dict(EVIDENCE), "edited": []})
    with pytest.raises(UserError, match="is not what was judged"):
        report.read(lite, plan.plan_key, folder)
    with pytest.raises(UserError, match="no such plan"):
        report.read(lite, "b" * 64, folder)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "not measured"),
        (3, "3"),
        (24777.0, "24,777"),
        (55_665_928, "55,665,928"),
        (12345.6, "12,346"),
        (0.123456, "0.1235"),
        (-0.3, "-0.3"),
        (1.138e-05, "1.138e-05"),
        (float("nan"), "not a number"),
        (float("inf"), "not finite"),
    ],
)
def test_numbers_are_shown_as_they_are(value, shown):
    assert number(value) == shown


def test_a_drawing_has_zero_in_its_middle_and_ends_at_the_largest_change():
    zero, line = re.findall(r'<line[^>]*x1="([\d.]+)" x2="([\d.]+)"', interval_plot(-5.0, -10.0, 0.0, 10.0))
    assert zero == ("100", "100")
    assert line == ("4.0", "100.0")
    assert 'cx="52.0"' in interval_plot(-5.0, -10.0, 0.0, 10.0)


def test_small_chances_and_times_are_said_for_people():
    assert (chance(0.0004), chance(0.25)) == ("p < 0.001", "p 0.250")
    assert when("2026-11-21T03:04:05+00:00") == "2026-11-21 03:04:05 UTC"
