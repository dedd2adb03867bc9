"""A test of a trained system from what a person asks for: check, predict, count, log."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.two_stream import FUSION
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.eval.place import read_known
from pipeline.tracking.attach import attach
from pipeline.train.device import Precision
from pipeline.two_stream.answer import Variant, variants_of
from pipeline.two_stream.evaluate import Tested, check_data, evaluate, not_scored
from pipeline.two_stream.pairs import PairedData
from pipeline.two_stream.pointing import Pointed
from pipeline.two_stream.predict import TestRun, predict
from pipeline.two_stream.results import Results, flat_metrics
from pipeline.two_stream.samples import STREAMS
from pipeline.two_stream.stages import Places, final_stage
from pipeline.two_stream.system import System
from pipeline.two_stream.views import Crops, Viewing


@dataclass(frozen=True, kw_only=True)
class TestRequest:
    """What a person asks for; empty is the training's."""

    __test__ = False  # for pytest, which takes it for a test

    data: str = ""
    flow: str = ""
    split: str = ""
    places: int = 25
    crops: Crops = 1
    variants: tuple[Variant, ...] = ()
    """Empty: all that the system has."""
    fusion: tuple[float, float] = FUSION
    allow_other: bool = False
    batch: int = 16
    actors: int = 1
    cpus_per_actor: float = 1.0
    data_cpus: float = 1.0
    gpu: bool = False
    threads: int = 1
    precision: Precision | None = None
    truth: str = ""
    """File of make_synth that says where the object is."""


def systems_of(root: str, names: Sequence[str]) -> list[System]:
    """Open systems, of which each has to be of a fold of its own.

    Raises:
        UserError: there is none of a name, its training has not ended, or two are of the same fold.
    """
    systems = [System.open(root, name) for name in names]
    folds = [system.recipe.data.fold for system in systems]
    if len(set(folds)) < len(folds):
        told = ", ".join(f"{system.name} fold {fold}" for system, fold in zip(systems, folds, strict=True))
        fix = "train one system a fold with data.fold=1, 2, 3, or test them one by one"
        raise UserError(problem("A mean needs folds that differ", got=told, allowed="one system a fold", fix=fix))
    return systems


def score_system(system: System, request: TestRequest, out: str) -> tuple[Results, Tested]:
    """Predict and count a system's test split; leaves predictions.parquet in `out`.

    Args:
        system: trained.
        request: what is asked for. With actors, Ray must be connected.
        out: folder, a path or URI.

    Raises:
        UserError: other data than the training's, a variant that the system has not, or what `predict` refuses.
    """
    recipe = system.recipe
    # Flow beside other frames is other flow, so the training's place is asked for the training's frames only.
    flow_root = request.flow or ("" if request.data else recipe.flow_root)
    data = PairedData.open(request.data or recipe.data.root, flow_root)
    differences = check_data(system, data, allow_other=request.allow_other)
    job = TestRun(
        root=system.root,
        name=system.name,
        split=request.split or recipe.data.test_split,
        fold=recipe.data.fold,
        viewing=Viewing(places=request.places, crops=request.crops, short_side=recipe.pair.short_side),
        variants=_variants(system, request),
        fusion=request.fusion,
        batch=request.batch,
        actors=request.actors,
        gpu=request.gpu,
        cpus_per_actor=request.cpus_per_actor,
        data_cpus=request.data_cpus,
        threads=request.threads,
        precision=request.precision,
        keep_maps=bool(request.truth),
    )
    pointed = _pointed(request, job)
    results = Results(system=system, data=data, job=job, differences=differences)
    rows = predict(data, system, job)
    rows = pointed.watch(rows) if pointed else rows
    lost = not_scored(data, job.split, job.fold)
    uri = storage.join(out, "predictions.parquet")
    tested = evaluate(rows, job.variants, len(data.prepared.classes), uri, results.about(), lost)
    return results, replace(tested, pointing=pointed.found()) if pointed else tested


def _pointed(request: TestRequest, job: TestRun) -> Pointed | None:
    """Return what takes the maps out of the predictions, where a truth is given to compare them with."""
    if not request.truth:
        return None
    if "with" not in job.variants:
        fix = "leave --truth away, or test a system with attention in the variant with"
        what, got = "No map is made that the truth could be compared with", f"variants {', '.join(job.variants)}"
        raise UserError(problem(what, got=got, allowed="with among them", fix=fix))
    return Pointed(read_known(request.truth))


def _variants(system: System, request: TestRequest) -> tuple[Variant, ...]:
    has = variants_of(system.recipe)
    if lacking := [variant for variant in request.variants if variant not in has]:
        fix = "leave --variants away, or test a system with attention and two rounds or more"
        got, allowed = f"{', '.join(lacking)} of {system.name}", ", ".join(has)
        raise UserError(problem("The system has no such variant", got=got, allowed=allowed, fix=fix))
    return tuple(variant for variant in has if variant in request.variants) or has


def log(results: Results, tested: Tested, out: str, uri: str) -> bool:
    """Log a test to the MLflow runs of the last round; returns whether it was logged to both.

    Args:
        results: what was tested.
        tested: the counts.
        out: folder with the files.
        uri: of the tracking server; empty: there is none.
    """
    system, logged = results.system, True
    places = Places(system.root, system.name)
    for stream in STREAMS:
        record: dict[str, Any] = storage.read_json(places.record(final_stage(system.recipe, stream)))
        run_id, step = record.get("mlflow_run_id", ""), int(record.get("steps", 0))
        if not uri or not run_id:
            return False
        numbers, path = flat_metrics(results, tested), f"test/{results.name}"
        logged &= attach(uri, run_id, folder=out, artifact_path=path, metrics=numbers, step=step)
        if not logged:  # said once, not waited for twice
            break
        print(f"  MLflow   run {run_id} at {uri}", flush=True)
    return logged
