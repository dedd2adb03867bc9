"""All tables by name: those of the papers and those beyond them, and what stands for each in a world."""

from collections.abc import Mapping, Sequence

from pipeline.core.errors import UserError, problem
from pipeline.reproduce import beyond, papers, rows
from pipeline.reproduce.cells import Bound, Cell
from pipeline.reproduce.papers import Table
from pipeline.reproduce.world import World

ALL = "all"
TABLES: Mapping[str, Table] = {**papers.PAPERS, **beyond.TABLES}


def cells_of(world: World) -> dict[str, Cell]:
    """Return everything that a world can run, by name."""
    return rows.cells_of_world(world) | beyond.cells_beyond(world)


def bounds_of(world: World, names: Sequence[str], *, costly: bool) -> list[Bound]:
    """Return what stands for each table that is asked for, each once.

    Args:
        world: where tables are filled.
        names: of tables; "all" is all of them.
        costly: "all" has those beyond the papers that take longest, too.

    Raises:
        UserError: no such table in this world.
    """
    known = rows.bounds_of_world(world) | beyond.bounds_beyond(world)
    everything = [name for name in known if costly or name not in beyond.COSTLY]
    wanted = [name for text in names for name in (everything if text == ALL else [text])]
    if unknown := [name for name in wanted if name not in known]:
        allowed, fix = (
            f"{ALL}, {', '.join(known)}",
            "choose one of them, or add --data synth for rows beyond the papers",
        )
        raise UserError(problem("There is no such table", got=unknown[0], allowed=allowed, fix=fix))
    return [known[name] for name in dict.fromkeys(wanted)]
