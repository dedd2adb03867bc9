"""Cells that are finished by hand: predictions whose right answers are known, on a desk that takes them for done."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.reproduce import recipe_of
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.catalogue import choose
from pipeline.reproduce.plan import Desk

CLASSES, VIDEOS = 6, 40
DENSE, UNIFORM = "1 clip of 8 frames, stride 1 (dense), centre crop", "1 clip of 8 segments (uniform), centre crop"
LABELS = [number % CLASSES for number in range(VIDEOS)]


def scores(label, rank):
    """Scores whose true class has this rank."""
    order = [k for k in range(CLASSES) if k != label]
    order.insert(rank, label)
    return [float(CLASSES - order.index(k)) for k in range(CLASSES)]


class Bench:
    """A desk on the synth bench whose cells are finished by hand."""

    def __init__(self, out, world=SYNTH):
        cells = choose(world, []).cells
        given = {} if world.is_synth else {name: f"{out}/{name}" for name in ("ssv2", "ssv1", "ucf101", "hmdb51")}
        self.desk = Desk(world=world, cells=cells, out=str(out), recipe_of=recipe_of, given=given)
        for name in ("ssv2", "ssv1", "ucf101", "hmdb51"):
            root = Path(self.desk.data_root(name))
            root.mkdir(parents=True)
            (root / "manifest.json").write_text(json.dumps({"passport": f"passport-of-{name}"}))

    def record(self, name, seconds=1.0):
        uri = Path(self.desk.record_uri(self.desk.cells[name]))
        uri.parent.mkdir(parents=True, exist_ok=True)
        argv = ["jobs/evaluate.py", "--out", self.desk.folder(self.desk.cells[name])]
        began = "2026-01-01T00:00:00+00:00"
        record = {"cell": name, "key": self.desk.key(self.desk.cells[name]), "began": began, "seconds": seconds}
        uri.write_text(json.dumps(record | {"commands": [argv]}))

    def predictions(self, name, ranks, file="predictions.parquet", protocol=DENSE, passport="passport-of-ssv2"):
        """Predictions of a clip network: by inversion, the rank of each video's true class; one video is hidden."""
        rows = [
            {"id": f"v{number:03d}", "label": label, "inversion": how, "scores": scores(label, of[number])}
            for how, of in ranks.items()
            for number, label in enumerate(LABELS)
        ]
        rows += [{"id": "hidden", "label": -1, "inversion": how, "scores": scores(0, 0)} for how in ranks]
        about = {"star.protocol": protocol, "star.passport": passport}
        self.table(name, file, rows, about)

    def streams(self, name, ranks):
        """Predictions of a two-stream system: by column, the rank of each video's true class."""
        rows = [
            {"id": f"v{number:03d}", "label": label} | {c: scores(label, of[number]) for c, of in ranks.items()}
            for number, label in enumerate(LABELS)
        ]
        about = {"star.protocol": "5 places, centre crop", "star.passport": f"passport-of-{name.split('-')[0]}"}
        self.table(name, "system/predictions.parquet", rows, about)

    def table(self, name, file, rows, about):
        folder = Path(self.desk.folder(self.desk.cells[name]))
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        for other in self.desk.cells[name].results:
            (folder / other.replace("*", "system")).touch()
        (folder / "metrics.json").write_text(json.dumps({"edited_classes": [0, 1]}))
        pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(about), folder / file)
        self.record(name)


def first(right, wrong_rank=5):
    """Ranks: the first so many videos are right."""
    return [0 if number < right else wrong_rank for number in range(VIDEOS)]
