"""What a night costs: training the candidate, asking both networks, drawing what changed, writing the plan's page."""

from dataclasses import dataclass

from pipeline.annotate.batches import read_batch
from pipeline.core import ray_session
from pipeline.core.config import from_dict
from pipeline.core.errors import UserError, problem
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.edits import read_edits
from pipeline.finetune.recipe import FinetuneRecipe
from pipeline.finetune.results import job_for
from pipeline.finetune.task import EditTask
from pipeline.retrain import lineage, report, strips
from pipeline.retrain.compare import CANDIDATE, CHAMPION, Networks, answers, compare
from pipeline.retrain.evidence import Evidence
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.night import Trained
from pipeline.retrain.plan import Plan
from pipeline.retrain.verdict import Verdict
from pipeline.train.launch import train


@dataclass(frozen=True, kw_only=True)
class Training:
    """Fine-tunes on the cluster at hand, and compares there.

    The last checkpoint is judged: the best one by validation would be chosen by the videos that then judge it.
    """

    root: str
    """Run storage, a path or URI that every node reaches; gets a run and a folder of files for every plan."""
    ledger: Ledger
    batch: int = 8
    """Clips of a forward pass when networks are asked."""

    def train(self, plan: Plan) -> Trained:
        """Train the plan's candidate under the plan's name, or go on with it.

        Raises:
            UserError: a batch is not what was sealed, the recipe does not fit, or MLflow has no record of the run.
        """
        recipe = recipe_of(plan)
        listed = lineage.list_hash(lineage.planned_list(plan))
        # Asking networks takes a CPU for decoding even where training decodes by itself.
        compute = recipe.compute
        ray_session.connect(compute.workers * compute.cpus_per_worker + max(compute.data_cpus, 1.0))
        trained = train(recipe, root=self.root, open_task=EditTask, name=run_name(plan))
        if not trained.mlflow_run_id:
            what, fix = "The candidate's training is not in MLflow", "start the server, and run the job again"
            got, allowed = f"no run at {trained.tracking_uri}", "a run, which the registered version belongs to"
            raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
        return Trained(run_id=trained.mlflow_run_id, checkpoint=trained.last_checkpoint, training_list=listed)

    def score(self, plan: Plan, trained: Trained) -> Evidence:
        """Ask champion and candidate, or return what an earlier call has found."""
        recipe = recipe_of(plan)
        networks = Networks(base=plan.base, champion=plan.champion_checkpoint, candidate=trained.checkpoint)
        job = job_for(recipe, trained.checkpoint, self.batch)
        ray_session.connect(job.cpus())
        new = [read_batch(plan.batch_uris[batch]) for batch in plan.new_batches]
        edits, dataset = read_edits(recipe.edits.batches), PreparedDataset.open(recipe.data.root)
        edited = dataset.videos(recipe.data.train_split, recipe.data.fold)
        return compare(networks, edits, edited, new, dataset, job, self._folder(plan))

    def report(self, plan: Plan, trained: Trained, evidence: Evidence, verdict: Verdict) -> str:
        """Draw the clips that changed most, and write the plan's page; returns its path or URI."""
        folder, data = self._folder(plan), recipe_of(plan).data
        drawn: tuple[strips.Strip, ...] = ()
        if evidence.integrity.finite:
            before, after = answers(folder, CHAMPION), answers(folder, CANDIDATE)
            dataset = PreparedDataset.open(data.root)
            chosen = strips.most_changed(before, after, dataset.classes)
            videos = dataset.videos(data.test_split, data.fold)
            networks = plan.champion_checkpoint, trained.checkpoint
            drawn = strips.draw_strips(chosen, *networks, dataset.root, videos, folder)
        page = report.PlanPage(
            plan=plan,
            trained=trained,
            evidence=evidence,
            verdict=verdict,
            strips=drawn,
            batches=lineage.shares(plan, self.ledger.used(plan.model, plan.champion)),
        )
        return report.write(page, folder)

    def _folder(self, plan: Plan) -> str:
        return report.folder_of(self.root, plan.plan_key)


def run_name(plan: Plan) -> str:
    """Return the name of a plan's training run."""
    return plan.plan_key[:16]


def recipe_of(plan: Plan) -> FinetuneRecipe:
    """Return what a plan trains."""
    return from_dict(FinetuneRecipe, plan.recipe)
