"""All tables by name: those of the papers, those beyond them, and one of published checkpoints that are at hand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.reproduce import beyond, papers, published, rows
from pipeline.reproduce.bench import SYNTH
from pipeline.reproduce.cells import Bound, Cell, closure
from pipeline.reproduce.given import check_given, lacking
from pipeline.reproduce.papers import Table
from pipeline.reproduce.world import DATA, PAPERS, World

ALL = "all"
NONE: Mapping[str, str] = MappingProxyType({})
TABLES: Mapping[str, Table] = {**papers.PAPERS, **beyond.TABLES}


@dataclass(frozen=True)
class Chosen:
    """The tables that are asked for, what stands for them, and what can be run."""

    tables: Mapping[str, Table]
    bounds: tuple[Bound, ...]
    cells: Mapping[str, Cell]

    def wanted(self, first: Sequence[str] = ()) -> list[str]:
        """Names of the cells that their numbers and pictures come from, in the order of the tables.

        Args:
            first: lanes whose cells come before all others, in this order.
        """
        names = [name for bound in self.bounds for name in bound.cells()]
        place = {lane: number for number, lane in enumerate(first)}
        return sorted(names, key=lambda name: place.get(self.cells[name].lane, len(place)))


def world_of(data: Sequence[str], place: Callable[[str], str] = storage.absolute) -> tuple[World, dict[str, str]]:
    """Return where tables are filled, and the prepared data sets that people bring.

    Args:
        data: "synth" alone, or NAME=ROOT for each data set.
        place: makes a ROOT mean the same for every process.

    Raises:
        UserError: it is neither, or a data set is not what it is said to be.
    """
    if list(data) == [SYNTH.name]:
        return SYNTH, {}
    given = dict(text.partition("=")[::2] for text in data)
    if unknown := [name for name, root in given.items() if name not in DATA or not root]:
        fix = "write --data synth, or --data ssv2=/data/ssv2 ucf101=s3://BUCKET/ucf101"
        allowed = f"synth, or NAME=ROOT with NAME one of {', '.join(DATA)}"
        raise UserError(problem("--data cannot be read", got=", ".join(unknown), allowed=allowed, fix=fix))
    placed = {name: place(root) for name, root in given.items()}
    check_given(placed)
    return PAPERS, placed


def choose(
    world: World,
    names: Sequence[str],
    *,
    costly: bool = False,
    authors: Sequence[str] = (),
    given: Mapping[str, str] = NONE,
) -> Chosen:
    """Return what is asked for, each table once; the published checkpoints come first.

    Args:
        world: where tables are filled.
        names: of tables; "all" is all of them.
        costly: "all" has those beyond the papers that take longest, too.
        authors: files of the authors' checkpoints.
        given: prepared data sets; tables on one that is not whole have a note that says so.

    Raises:
        UserError: no such table in this world, or checkpoints for the synth bench.
    """
    known = rows.bounds_of_world(world) | beyond.bounds_beyond(world)
    everything = [name for name in known if costly or name not in beyond.COSTLY]
    wanted = [name for text in names for name in (everything if text == ALL else [text])]
    if unknown := [name for name in wanted if name not in known]:
        allowed, fix = f"{ALL}, {', '.join(known)}", "choose one of them; rows beyond the papers need --data synth"
        raise UserError(problem("There is no such table", got=unknown[0], allowed=allowed, fix=fix))
    cells = rows.cells_of_world(world) | beyond.cells_beyond(world)
    tables, bounds = dict(TABLES), [known[name] for name in dict.fromkeys(wanted)]
    if authors:
        if world.is_synth:
            what, fix = "The authors' networks know nothing of the synth bench", "leave --checkpoints away"
            raise UserError(problem(what, got=authors[0], allowed="them with --data ssv2=ROOT", fix=fix))
        cells |= published.cells_published(world, authors)
        table, bound = published.table_published(world, authors)
        tables[table.key] = table
        bounds.insert(0, bound)
    told = lacking(given)
    for bound in bounds:
        on = {cell.data for cell in closure(cells, bound.cells())}
        notes = (*tables[bound.key].notes, *(text for name, text in told.items() if name in on))
        tables[bound.key] = replace(tables[bound.key], notes=notes)
    return Chosen(tables, tuple(bounds), cells)
