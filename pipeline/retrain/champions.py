"""Champions in MLflow's registry: which version answers, which was before it, which one asked to be.

Aliases are read by alias, never out of a search. Moving one is last-writer-wins in the registry, so the moves of a
promotion are made inside `Ledger.moving`, and each may be made again after a crash at any point between them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from pipeline.core.errors import UserError, problem
from pipeline.registry.tags import BASE_TAG, BATCHES_TAG, CHECKPOINT_TAG
from pipeline.retrain.errors import SupersededError
from pipeline.tracking.run import client_of

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
ALIASES = (CHAMPION, CHALLENGER, PREVIOUS)
PLAN_TAG = "star.plan_key"
PARENT_TAG = "star.parent"
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How MLflow answers for an alias that is not set: the latter."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A registered version."""

    number: int
    run_id: str
    checkpoint: str
    """Folder of its weights, a path or URI; empty of a version that was registered without it."""
    tags: Mapping[str, str]

    @property
    def plan_key(self) -> str:
        """Plan that made it; empty of one that people registered."""
        return self.tags.get(PLAN_TAG, "")

    @property
    def parent(self) -> int | None:
        """Champion that it was compared with and followed; None of one that people registered."""
        return int(self.tags[PARENT_TAG]) if PARENT_TAG in self.tags else None

    @property
    def base(self) -> str:
        """Checkpoint that the trainings of its lineage start from; its own, unless it says otherwise."""
        return self.tags.get(BASE_TAG, "") or self.checkpoint

    @property
    def batches(self) -> tuple[str, ...]:
        """Ids of all batches that it was trained on."""
        return tuple(filter(None, self.tags.get(BATCHES_TAG, "").split(",")))


class Champions:
    """The aliases and versions of one registered model."""

    def __init__(self, model: str, tracking_uri: str, client: Any = None) -> None:
        """Name the model.

        Args:
            model: its registered name.
            tracking_uri: MLflow server or sqlite:/// path, which holds the registry too.
            client: what answers like MLflow's client; None for MLflow's.
        """
        self.model = model
        self.uri = tracking_uri
        self._client = client or client_of(tracking_uri)

    def champion(self) -> Version | None:
        """Return the version that answers; None when there is none yet."""
        return self.at(CHAMPION)

    def previous(self) -> Version | None:
        """Return the version before the champion; None when there is none."""
        return self.at(PREVIOUS)

    def at(self, alias: str) -> Version | None:
        """Return the version at an alias; None when it is not set.

        Raises:
            UserError: the registry cannot be reached.
        """
        try:
            with self._reached():
                return _version(self._client.get_model_version_by_alias(self.model, alias))
        except MlflowException:
            return None

    def version(self, number: int) -> Version:
        """Return a version.

        Raises:
            UserError: there is none of that number, or the registry cannot be reached.
        """
        try:
            with self._reached():
                return _version(self._client.get_model_version(self.model, str(number)))
        except MlflowException as error:
            fix, allowed = "look at the model's page in MLflow", f"a version of {self.model}"
            raise UserError(problem("There is no such version", got=str(number), allowed=allowed, fix=fix)) from error

    def versions(self) -> list[Version]:
        """Return every version, oldest first."""
        try:
            with self._reached():
                found = [_version(one) for one in self._client.search_model_versions(f"name = '{self.model}'")]
        except MlflowException:
            return []
        return sorted(found, key=lambda version: version.number)

    def made_by(self, plan_key: str) -> Version | None:
        """Return the version that a plan has registered; None when it has not."""
        return next((version for version in self.versions() if version.plan_key == plan_key), None)

    def register(self, plan_key: str, run_id: str, checkpoint: str, tags: Mapping[str, str]) -> int:
        """Register a plan's candidate, or return the version that the plan has registered already.

        Args:
            plan_key: the plan's.
            run_id: MLflow run of its training.
            checkpoint: folder of the weights.
            tags: what else the version should carry.

        Raises:
            UserError: there is no checkpoint, or the registry cannot be reached.
        """
        made = self.made_by(plan_key)
        return made.number if made else self._make(run_id, checkpoint, {**tags, PLAN_TAG: plan_key})

    def _make(self, run_id: str, checkpoint: str, tags: Mapping[str, str]) -> int:
        from pipeline.registry.registered import register_model  # torch: not for a rollback

        with self._reached():
            return register_model(run_id, checkpoint, self.model, tracking_uri=self.uri, tags=tags)

    def adopt(self, number: int) -> Version:
        """Make a version the first champion; the champion may be adopted again.

        Raises:
            UserError: there is another champion, no such version, or it was registered without its checkpoint.
        """
        version, champion = self.version(number), self.champion()
        if champion is not None and champion.number != number:
            fix = "promote by jobs/retrain.py, go back by jobs/rollback.py"
            got, allowed = f"version {number}", f"the champion, version {champion.number}"
            raise UserError(problem(f"{self.model} has a champion", got=got, allowed=allowed, fix=fix))
        if not version.checkpoint:
            fix = "register the run again, which adds the tag"
            what = f"Version {number} of {self.model} does not say where its checkpoint is"
            raise UserError(problem(what, got=f"no tag {CHECKPOINT_TAG}", allowed="a checkpoint's folder", fix=fix))
        self._set(CHAMPION, number)
        return version

    def challenge(self, candidate: int, expected: int) -> None:
        """Set the challenger.

        Raises:
            SupersededError: the champion is neither `expected` nor the candidate.
        """
        self._check(candidate, expected)
        self._set(CHALLENGER, candidate)

    def promote(self, candidate: int, expected: int, at: Callable[[str], None] = lambda alias: None) -> None:
        """Make a candidate the champion: challenger, then previous, then champion.

        Args:
            candidate: version to be champion; when it is already, only what may be missing is done.
            expected: version that it was compared with.
            at: called with each alias after its move.

        Raises:
            SupersededError: the champion is neither of the two.
            UserError: the registry cannot be reached, or there is no such version.
        """
        self._check(candidate, expected)
        for alias, number in ((CHALLENGER, candidate), (PREVIOUS, expected), (CHAMPION, candidate)):
            self._set(alias, number)
            at(alias)

    def target(self, number: int) -> Version:
        """Return the version that rolling back `number` restores: the one that it followed.

        Raises:
            UserError: nothing was before it.
        """
        version, previous = self.version(number), self.previous()
        parent = version.parent
        if parent is None and previous is not None and previous.number < number:
            parent = previous.number
        if parent is None:
            what, fix = f"Nothing was before version {number} of {self.model}", "promote another version"
            raise UserError(problem(what, got=f"version {number}", allowed="a version that followed another", fix=fix))
        return self.version(parent)

    def rollback(self, bad: int, at: Callable[[str], None] = lambda alias: None) -> Version:
        """Give the champion's place back to the version before `bad`, by one move of its alias.

        Afterwards `previous` is brought up to date, so that it always says where a rollback leads. May be repeated
        after a crash at any point.

        Args:
            bad: version to be rolled back.
            at: called with each alias after its move.

        Returns:
            The champion.

        Raises:
            SupersededError: the champion is neither `bad` nor the version before it.
            UserError: nothing was before it, or the registry cannot be reached.
        """
        target = self.target(bad)
        self._check(target.number, bad)
        self._set(CHAMPION, target.number)
        at(CHAMPION)
        if target.parent is not None:
            self._set(PREVIOUS, target.parent)
        else:
            with self._reached():
                self._client.delete_registered_model_alias(self.model, PREVIOUS)
        at(PREVIOUS)
        return target

    def _check(self, candidate: int, expected: int) -> None:
        """Refuse to move the champion from another version than the expected one."""
        champion = self.champion()
        if champion is None or champion.number not in (candidate, expected):
            now = f"version {champion.number}" if champion else "none"
            raise SupersededError(f"the champion of {self.model} is {now}, no longer version {expected}")

    def _set(self, alias: str, number: int) -> None:
        with self._reached():
            self._client.set_registered_model_alias(self.model, alias, str(number))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell a registry that is away from one that says no, which stays MLflow's own error."""
        try:
            yield
        except MlflowException as error:
            if error.error_code in ABSENT:
                raise
            reason = str(error).strip().splitlines()[0][:200]
            fix = "check --mlflow or MLFLOW_TRACKING_URI, and that the server runs"
            what = f"The registry could not be reached ({reason})"
            raise UserError(
                problem(what, got=self.uri, allowed="an MLflow server, or sqlite:///path", fix=fix)
            ) from error


def _version(found: Any) -> Version:
    tags = dict(found.tags)
    return Version(
        number=int(found.version),
        run_id=found.run_id or "",
        checkpoint=tags.get(CHECKPOINT_TAG, ""),
        tags=tags,
    )
