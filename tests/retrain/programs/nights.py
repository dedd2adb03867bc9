"""Nights in processes of their own, killed at boundaries: `nights.py FOLDER STORY:BOUNDARY...` prints a line for each.

FOLDER/template holds batches, runs and a registry with a champion. For every BOUNDARY it is copied to FOLDER/night; a
process works there until it kills itself at the boundary, and others are started until one finds nothing to do. The
line is the JSON of how the first and the last of them ended and of all that is left. The boundary "none" kills nobody,
and after "once" nobody else is started. Processes are forked, so that libraries are loaded once. STORY is promoted,
refused or superseded, after how the night should end, or together: a second process starts while the first is at work.
"""

import gc
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path

import torch

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.retrain import lineage, report
from pipeline.retrain.attempt import attempt, open_desk
from pipeline.retrain.champions import ALIASES
from pipeline.retrain.evidence import Attention, BatchHealth, Evidence, Integrity, Scored
from pipeline.retrain.night import Trained
from pipeline.tracking.run import TrackedRun
from pipeline.train import checkpoint

MODEL = "star-tiny"
IDLE = 3
"""How a process ends that found nothing to do."""
CLASSES = ("Lifting something up", "Moving something down", "Turning something")


class LightWork:
    """What takes hours elsewhere: weights moved a little, answers made up, the page a real one."""

    def __init__(self, desk, story):
        self.desk, self.story = desk, story

    def train(self, plan):
        """Move the weights of the base, under an MLflow run that the plan's key finds again."""
        wait = Path(self.desk.root, "wait")
        Path(self.desk.root, "at-work").touch()
        while wait.exists():
            time.sleep(0.02)
        tracked = TrackedRun(
            self.desk.champions.uri, "star", "night", plan.plan_key, storage.join(self.desk.root, "mlflow-artifacts")
        )
        run_id = tracked.begin({}, {}, {})
        folder = storage.join(self.desk.root, plan.plan_key[:16], "step-00000001")
        base = checkpoint.read(plan.base)
        moved = {name: value + 0.5 if name.startswith("perception") and value.is_floating_point() else value
                 for name, value in base.model.items()}  # fmt: skip
        checkpoint.write(folder, replace(base, model=moved, recipe=plan.recipe, mlflow_run_id=run_id))
        tracked.end("FINISHED")
        listed = lineage.list_hash(lineage.planned_list(plan))
        return Trained(run_id=run_id, checkpoint=folder, training_list=listed)

    def score(self, plan, trained):
        """Make evidence up: the candidate gains in the edited class, and the batch is good or random."""
        uri = storage.join(report.folder_of(self.desk.root, plan.plan_key), report.EVIDENCE)
        evidence = evidence_of(self.story != "refused")
        storage.write_json(uri, to_dict(evidence))
        return evidence

    def report(self, plan, trained, evidence, verdict):
        """Write the page."""
        batches = lineage.shares(plan, self.desk.ledger.used(plan.model, plan.champion))
        page = report.PlanPage(plan=plan, trained=trained, evidence=evidence, verdict=verdict, batches=batches)
        return report.write(page, report.folder_of(self.desk.root, plan.plan_key))


def evidence_of(good):
    """Evidence over 600 videos."""
    label_N = tuple(i % 3 for i in range(600))
    champion_N = tuple(i % 10 < 6 for i in range(600))
    candidate_N = tuple(right or (i % 3 == 0 and i % 10 < 8) for i, right in enumerate(champion_N))
    return Evidence(
        scored=Scored(
            ids=tuple(f"v{i}" for i in range(600)), classes=CLASSES, label_N=label_N, champion_N=champion_N,
            candidate_N=candidate_N,
        ),
        edited=CLASSES[:1],
        attention=Attention(
            heldout_videos=0, heldout_before=None, heldout_after=None, inversion_before=30.0, inversion_after=31.0,
            spread_before=0.2, spread_after=0.2,
        ),
        health=BatchHealth(
            clips=40, kappa=0.8, doubled=10, flagged=0.0, levels=(0.5, 0.3, 0.2), unset=0.0,
            by_class={CLASSES[0]: 40}, steadiness=0.9 if good else 0.0,
        ),
        integrity=Integrity(
            finite=True, extractor_identical=True, parameters_before=5, parameters_after=5, latency_before_ms=1.0,
            latency_after_ms=1.0,
        ),
    )  # fmt: skip


def desk_of(folder):
    """Everything of the night lies below one folder."""
    root = storage.join(str(folder), "runs")
    batches = storage.join(str(folder), "batches")
    return open_desk(MODEL, root, batches, ledger="", mlflow="", policy="standard-1", overrides=["train.epochs=1"])


def work(folder, story, boundary):
    """One call of the job, killed at a boundary; returns how its process should end."""
    desk = desk_of(folder)

    def at(passed):
        if story == "superseded" and passed == "registered" and desk.champions.champion().number == 1:
            desk.champions.promote(2, 1)  # somebody else's
        if passed == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    outcome = attempt(desk, lambda: LightWork(desk, story), at)
    print(outcome if isinstance(outcome, str) else outcome.end, flush=True)
    return IDLE if isinstance(outcome, str) else 0


def forked(function, *arguments):
    """Run a function in a process of its own, which ends with what it returns; returns its number at once."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os._exit(function(*arguments) or 0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(pid):
    """Wait for a process; returns its status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left(folder, desk=None):
    """All that a night leaves, but for clocks, random names, and who held the lease how often."""
    desk = desk or desk_of(folder)
    versions = desk.champions.versions()
    runs = {version.run_id: f"run {version.number}" for version in versions}
    rows = [{**asdict(row), "began": 0, "decided": 0, "ended": 0} for row in desk.ledger.rows()]
    keys = [row["plan"]["plan_key"] for row in rows]
    found = {
        "rows": rows,
        "facts": [desk.ledger.facts(key) for key in keys],
        "uses": [desk.ledger.uses(key) for key in keys],
        "events": [
            [event.action, event.subject, {k: v for k, v in event.detail.items() if k != "token"}]
            for event in desk.ledger.events()
            if event.action not in ("lease", "give_back")
        ],
        "versions": [asdict(version) for version in versions],
        "aliases": {alias: at.number if (at := desk.champions.at(alias)) else None for alias in ALIASES},
        "files": files_of(Path(folder)),
        "next": desk.look().reason,
    }
    text = json.dumps(found, sort_keys=True)
    for run in set(re.findall(r"\b[0-9a-f]{32}\b", text)):
        text = text.replace(run, runs.get(run, "a run of no version"))
    return text


def files_of(folder):
    """Hashes of all files but databases, and those that hold a clock or a random name by design."""
    kept = [
        p for p in folder.rglob("*") if p.is_file() and ".db" not in p.name and p.name not in ("MLmodel", "at-work")
    ]
    kept = [p for p in kept if "history" not in p.name and p.name != "registered_model_meta"]
    return {str(p.relative_to(folder)): digest(p) for p in kept}


def digest(path):
    """SHA-256; of pages without the times, of weights by their values, since a file holds its run's id."""
    if path.name == "state.pt":
        state = checkpoint.read(str(path.parent))
        values = {k: hashlib.sha256(v.contiguous().numpy().tobytes()).hexdigest() for k, v in state.model.items()}
        return storage.sha256_json([values, state.recipe, state.passport])
    data = path.read_bytes()
    data = re.sub(rb"\b[0-9a-f]{32}\b", b"RUN", data)
    return hashlib.sha256(re.sub(rb"20\d\d-\d\d-\d\d[T ][\d:]+(\+00:00| UTC)", b"TIME", data)).hexdigest()


def look(night, said):
    """Write down what is left, and what was said."""
    (night.parent / "left.json").write_text(json.dumps({**json.loads(left(night)), **said}))


def together(night):
    """Start a job, and another once the first is at work; what both say, and what is left."""
    texts = [night.parent / name for name in ("first.txt", "second.txt")]
    (night / "runs" / "wait").touch()

    def write(text):
        with text.open("w", buffering=1) as sys.stdout:
            try:
                work(night, "promoted", "")
            except UserError as error:
                print(error)

    first = forked(write, texts[0])
    while not (night / "runs" / "at-work").exists():
        time.sleep(0.02)
    second = ended(forked(write, texts[1]))
    (night / "runs" / "wait").unlink()
    statuses = ended(first), second
    said = {"first": texts[0].read_text(), "second": texts[1].read_text(), "pid": first}
    return *statuses, ended(forked(look, night, said))


def disturbed(night, story, boundary):
    """Work until killed, start again until there is nothing to do, look at what is left."""
    first = last = ended(forked(work, night, story, boundary))
    while boundary != "once" and last in (0, -signal.SIGKILL):
        last = ended(forked(work, night, story, ""))
    return first, last, ended(forked(look, night, {}))


def main():
    """Tell every story."""
    folder, night = Path(sys.argv[1]), Path(sys.argv[1]) / "night"
    torch.set_num_threads(1)
    shutil.rmtree(night, ignore_errors=True)
    shutil.copytree(folder / "template", night)
    (folder / "warm").symlink_to(night)  # another name, so that no child inherits an open database
    work(folder / "warm", "promoted", "")  # what is loaded late is then loaded once
    (folder / "warm").unlink()
    gc.freeze()  # children then share these pages
    for asked in sys.argv[2:]:
        story, boundary = asked.split(":")
        shutil.rmtree(night)
        shutil.copytree(folder / "template", night)
        ends = together(night) if story == "together" else disturbed(night, story, boundary)
        print("\n" + json.dumps([asked, *ends, (folder / "left.json").read_text()]), flush=True)


if __name__ == "__main__":
    main()
