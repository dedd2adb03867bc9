"""A sweep from its request to its trials: Ray Tune over Ray Train, with the ledger as the only memory.

Tune decides which trial runs next and which one stops early, and forgets everything with its driver; a new driver tells
it again what the ledger knows. So a sweep can go on with other machines or more trials, which a restored Tune cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlflow.exceptions import MlflowException
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from pipeline.core import storage
from pipeline.core.config import to_dict
from pipeline.core.errors import UserError, problem
from pipeline.core.ray_session import connect
from pipeline.data.store.catalog import Passport
from pipeline.tracking.run import TrackedRun, client_of, flatten
from pipeline.train import preflight
from pipeline.train.launch import claims_of, model_bytes
from pipeline.train.lock import driving
from pipeline.train.preflight import Claim
from pipeline.train.recipe import RunRecipe, require
from pipeline.train.runs import RECORD, has_record, tracking_uri
from pipeline.tune.choose import score_of
from pipeline.tune.draw import draw_trial, grid_size
from pipeline.tune.keep import Keeper, Say
from pipeline.tune.kinds import Target
from pipeline.tune.ledger import CONTROL, SWEEP, Identity, Ledger, Scheduler, Searcher, Trial
from pipeline.tune.space import Space
from pipeline.tune.trial import DRIVER_CPUS, EPOCH, Setting
from pipeline.tune.tuning import run_on_tune


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a person asks for."""

    name: str
    """Of the sweep; one that exists goes on."""
    target: Target
    space: Space
    searcher: Searcher = "random"
    scheduler: Scheduler = "fifo"
    trials: int = 12
    """Besides the control."""
    at_once: int = 1
    """Trials that train at the same time."""
    seed: int = 0
    points: int = 4
    """Values of a continuous field in a grid."""
    margin: float = 1.0
    """Percent points of top-1 that the other classes may lose against the control."""
    grace: int = 1
    """Epochs that every trial gets (asha), or between two exchanges (pbt)."""
    reduction: float = 3.0
    """One trial in so many goes on at each rung (asha)."""


@dataclass(frozen=True)
class Swept:
    """What a sweep came to."""

    request: Request
    root: str
    trials: tuple[Trial, ...]
    videos: int
    """Of the validation split."""
    mlflow_run_id: str
    """The parent's; empty where MLflow could not be reached."""
    tracking_uri: str


@dataclass(frozen=True)
class Sweeping:
    """A sweep on its way."""

    request: Request
    identity: Identity
    ledger: Ledger
    setting: Setting
    say: Say

    def draw(self, number: int) -> Trial:
        """Return a trial, drawn if it is new."""
        return draw_trial(number, self.request.space, self.identity, self.ledger, self.setting)


def sweep(request: Request, root: str, say: Say = lambda text: print(text, flush=True)) -> Swept:
    """Train the trials of a sweep that are not done, and return all.

    Args:
        request: what to search.
        root: run storage, a path or URI that every node can write; runs get folders `name`-KEY in it.
        say: told a line a trial.

    Raises:
        UserError: more trials at once than the cluster holds, another sweep or another driver of the name, a space
            without enough values, or trials that did not come to their end.
    """
    root, target = storage.absolute(root), request.target
    control = target.run_of(CONTROL, {})
    check(request, control)
    feed = target.open_feed(control)
    claim(request, control, feed.sample_bytes)
    ledger = Ledger(root, request.name)
    with driving(root, request.name):
        identity, existed = ledger.open(identity_of(request, feed.passport))
        done = sum(trial.is_done for trial in ledger.trials())
        say(f"{'going on with' if existed else 'starting'} sweep {request.name}: {done} trials done")
        parent = _parent(request, control, root, identity)
        about = {SWEEP: storage.read_json(storage.join(ledger.folder, SWEEP))}
        run_id = parent.begin(flatten(to_dict(target.recipe)), about, {"star.sweep": request.name}) or ""
        setting = Setting(
            root=root,
            name=request.name,
            run_of=target.run_of,
            open_feed=target.open_feed,
            open_task=target.open_task,
            videos=feed.validation_videos,
            margin=request.margin,
            parent=run_id,
        )
        _train_all(Sweeping(request, identity, ledger, setting, say))
        _end_stopped(ledger, parent.uri)
        parent.end("FINISHED")
    trials = tuple(ledger.trials()[: request.trials + 1])
    return Swept(request, root, trials, feed.validation_videos, run_id, parent.uri)


def check(request: Request, control: RunRecipe) -> None:
    """Refuse what cannot be a sweep.

    Raises:
        UserError: a scheduler that would never hear of a validation, too few trials, or a grid of another size.
    """
    every = control.train.eval_every
    if request.scheduler != "fifo" and (not every or request.grace % every):
        got = f"train.eval_every={every}, --grace {request.grace}"
        fix = "set train.eval_every=1"
        what = f"{request.scheduler} judges trials by validations on the way"
        raise UserError(problem(what, got=got, allowed="--grace a multiple of train.eval_every", fix=fix))
    if request.scheduler == "pbt" and (request.searcher != "random" or request.trials < 2):
        got = f"--searcher {request.searcher}, --trials {request.trials}"
        what = "Population-based training changes values as it goes"
        raise UserError(problem(what, got=got, allowed="random first values of two trials or more", fix="give these"))
    require("sweep", request, trials=1, at_once=1, seed=0, points=2, margin=0, grace=1)
    if request.reduction <= 1:
        fix = "set --reduction 3"
        what = "A rung that nobody leaves makes no halving"
        raise UserError(problem(what, got=f"--reduction {request.reduction:g}", allowed="above 1", fix=fix))
    if request.searcher == "grid" and request.trials != (size := grid_size(request.space, request.points)):
        fix = f"leave --trials away, or set it to {size}"
        what = "A grid has as many trials as it has combinations"
        raise UserError(problem(what, got=f"--trials {request.trials}", allowed=str(size), fix=fix))


def identity_of(request: Request, data: Passport) -> Identity:
    """Return what makes the sweep that sweep.

    How many trials there are and how many train at once is free. So is the margin where nothing is stopped early: it
    then only ranks what has been trained. Another one stops other trials, or exchanges others, so there it is compared.
    Likewise what trials are judged by: nobody asks where values are random and every trial is trained to its end.

    Args:
        request: what a person asks for.
        data: passport of all that the control's feed reads.
    """
    schedule: dict[str, float] = {}
    if request.scheduler != "fifo":
        schedule = {"grace": request.grace, "margin": request.margin}
    if request.scheduler == "asha":
        schedule["reduction"] = request.reduction
    return Identity(
        name=request.name,
        recipe=to_dict(request.target.recipe),
        space=tuple(request.space.texts()),
        searcher=request.searcher,
        scheduler=request.scheduler,
        schedule=schedule,
        seed=request.seed,
        points=request.points,
        target={"job": request.target.command[0], **request.target.inputs},
        passport=data.digest,
        passport_parts=dict(data.parts),
        told_of=request.target.told_of if request.searcher == "optuna" or request.scheduler != "fifo" else "",
    )


def claim(request: Request, recipe: RunRecipe, sample_bytes: int) -> None:
    """Connect to Ray, and refuse more trials at once than the cluster holds: they would wait for each other for ever.

    Raises:
        UserError: with the sum.
    """
    one = claims_of(recipe, weights=model_bytes(request.target.open_task(recipe)), sample_bytes=sample_bytes)
    drivers = Claim(what="processes of trials", count=request.at_once, cpus=DRIVER_CPUS)
    claims = [drivers, *(replace(part, count=part.count * request.at_once) for part in one)]
    connect(sum(part.count * part.cpus for part in claims))
    try:
        preflight.enforce(claims)
    except UserError as error:
        raise UserError(f"{error} These are the {request.at_once} trials of --at-once together.") from error


def _train_all(sweeping: Sweeping) -> None:
    """Train the control and the others.

    A scheduler that stops trials early holds them against the control, which therefore goes first and alone.
    """
    request = sweeping.request
    numbers = list(range(request.trials + 1))
    if request.scheduler == "fifo":
        _run(sweeping, numbers, FIFOScheduler())
        return
    _run(sweeping, [CONTROL], FIFOScheduler())
    videos, held = sweeping.setting.videos, sweeping.ledger.known(CONTROL)
    control = {rung.epoch: score_of(rung, videos) for rung in held.rungs}
    sweeping = replace(sweeping, setting=replace(sweeping.setting, control=control))
    if request.scheduler == "asha":
        _run(sweeping, numbers[1:], _asha(request, sweeping.setting.recipe_of(held).train.epochs))
    else:
        from pipeline.tune.population import train_population

        train_population(sweeping, numbers[1:], lambda some: _run(sweeping, some, FIFOScheduler()))


def _asha(request: Request, epochs: int) -> TrialScheduler:
    # One more than there are: Tune would stop a trial at its last epoch, before it has said how it ended.
    return ASHAScheduler(
        time_attr=EPOCH, max_t=epochs + 1, grace_period=request.grace, reduction_factor=request.reduction
    )


def _run(sweeping: Sweeping, numbers: list[int], scheduler: TrialScheduler) -> None:
    """Run those of some trials that are not done; ASHA is told of the others too, against which it judges.

    Raises:
        UserError: some did not come to their end.
    """
    request, ledger, setting = sweeping.request, sweeping.ledger, sweeping.setting
    keeper = Keeper(ledger, setting, request.trials + 1, request.scheduler, sweeping.say)
    left = [number for number in numbers if (trial := ledger.read(number)) is None or not trial.is_done]
    if left:
        shown = numbers if isinstance(scheduler, ASHAScheduler) else left
        run_on_tune(shown, sweeping.draw, setting, keeper, scheduler, request.at_once)
    failed = {trial.number: trial.why for trial in ledger.trials() if trial.state == "failed"}
    lost = keeper.errors | ({CONTROL: failed[CONTROL]} if CONTROL in failed else {})
    if lost:
        told = "; ".join(f"trial {number}: {why}" for number, why in sorted(lost.items()))
        fix = "mend the cause; the same command goes on with them"
        raise UserError(problem("Trials did not come to their end", got=told, allowed="trials that do", fix=fix))


def _parent(request: Request, control: RunRecipe, root: str, identity: Identity) -> TrackedRun:
    uri = tracking_uri(control, root)
    artifacts = "" if uri.startswith(("http://", "https://", "databricks")) else storage.join(root, "mlflow-artifacts")
    return TrackedRun(uri, control.tracking.experiment, request.name, identity.key, artifact_root=artifacts)


def _end_stopped(ledger: Ledger, uri: str) -> None:
    """End the MLflow runs of trials that were stopped: their own processes were, and could not."""
    for trial in ledger.trials():
        if trial.state != "stopped" or trial.mlflow_run_id or not has_record(ledger.root, trial.run):
            continue
        run_id = storage.read_json(storage.join(ledger.root, trial.run, RECORD)).get("mlflow_run_id", "")
        try:
            if run_id:
                client_of(uri).set_tag(run_id, "star.stopped", trial.why)
                client_of(uri).set_terminated(run_id, "KILLED")
                ledger.update(trial.number, mlflow_run_id=run_id)
        except MlflowException as error:
            print(f"WARNING MLflow at {uri} could not end run {run_id} ({error})", flush=True)
