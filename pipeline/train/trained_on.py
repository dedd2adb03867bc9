"""The data that a run was trained on, and how other data differ from it, video by video.

A passport says that data differ and in which column. A run's folder therefore keeps what the passport was made of, one
row a listed video: the catalog itself is gone once the data set is prepared anew in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.plan import Plan
from pipeline.data.store import catalog
from pipeline.data.store.catalog import CatalogRow, Passport, compare_passports

RECORD = "run.json"
"""In a run's folder: recipe and passport, written by `runs`; read here by those who do without torch."""
ROWS = "catalog.parquet"
"""In a run's folder: of every listed video its id and what the passport compares."""


@dataclass(frozen=True)
class TrainedOn:
    """The data of a run."""

    passport: Passport
    run: str
    """The run's folder, path or URI; empty when it is not known."""

    def keep(self, rows: Sequence[CatalogRow]) -> None:
        """Write the rows into the run's folder, unless they are there or there are none."""
        uri = storage.join(self.run, ROWS)
        if rows and not storage.exists(uri):
            with storage.publish(uri) as file:
                file.write(catalog.to_parquet([catalog.identity_of(row) for row in rows]))

    def differences(self, passport: Passport, rows: Sequence[CatalogRow]) -> tuple[str, ...]:
        """Say how other data differ, one line a difference; empty when they are the same.

        Args:
            passport: of the other data.
            rows: every listed video of the other data; empty when they are not known.

        Returns:
            Lines that name videos, where both catalogs are known; otherwise lines that name columns.
        """
        if passport.digest == self.passport.digest:
            return ()
        by_video = compare_passports(self.passport, passport, self.rows() or None, rows or None)
        # Rows that show nothing are not what the passports were made of.
        return by_video or compare_passports(self.passport, passport)

    def rows(self) -> tuple[CatalogRow, ...]:
        """Return what `keep` has kept; empty when there is nothing that can be read."""
        try:
            return catalog.from_parquet(storage.read_bytes(storage.join(self.run, ROWS))) if self.run else ()
        except (OSError, ValueError):  # of an older run, or its storage is out of reach: said less precisely then
            return ()


def refuse_other_data(
    what: str, passport: Passport, plan: Plan, *, of_run: tuple[TrainedOn, Plan], rows: Sequence[CatalogRow] = ()
) -> None:
    """Refuse data that is not the run's: a position in the plan would mean other videos.

    Args:
        what: what has this passport and plan, for the message.
        passport: identity of the data.
        plan: order of the videos.
        of_run: what the driver began the run with.
        rows: every listed video of the data; empty when they are not known.

    Raises:
        UserError: something differs; names all of it.
    """
    data, of_plan = of_run
    changed = list(data.differences(passport, rows))
    changed += [
        f"plan {field.name} {getattr(of_plan, field.name)} -> {getattr(plan, field.name)}"
        for field in fields(Plan)
        if getattr(of_plan, field.name) != getattr(plan, field.name)
    ]
    if changed:
        raise UserError(
            problem(
                f"{what} is not of the data that the run began with",
                got="; ".join(changed),
                allowed="the same prepared data on all nodes and for the whole run",
                fix="let --data name storage that all nodes share, and prepare anew into another folder only",
            )
        )
