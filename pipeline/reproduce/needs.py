"""What rows need that is not there yet: files, weights, published checkpoints, hours, disk; all without running.

Each table tells a thing in full where it first needs it, names it where it needs it again, and adds everything up once.
"""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.core.errors import UserError, problem
from pipeline.reproduce.catalogue import Chosen
from pipeline.reproduce.cells import Cell, cells_of, closure
from pipeline.reproduce.commands import Machines
from pipeline.reproduce.costs import PAIRS_A_SECOND, Cost, Passes, base_of, cost_of, disk_gb, hours, hours_of, passes_of
from pipeline.reproduce.official import OFFICIAL
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.world import DATA

INITIAL = {"imagenet2d": "torchvision's resnet{depth} of ImageNet (IMAGENET1K_V1)", "random": ""}
STREAM_INITIAL = {"imagenet": "torchvision's inception_v3 of ImageNet (IMAGENET1K_V1)", "random": ""}
AUTHORS = {
    "s0-stabn-r50": "checkpoint-*.pt of abn_resnet50",
    "s0-stabn-r101": "checkpoint-*.pt of abn_resnet101",
}
"""What the authors' second implementation writes; the papers' own checkpoints of other rows are not known to exist."""
EDITED = "about 2,400 training clips edited by people (2,396 by 74 in S0)"

WIDTH = 110
"""Letters of a line of names."""
LEAST = 0.01
"""GPU hours below which nobody asks for more digits."""


def needs_text(desk: Desk, chosen: Chosen, tflops: float, machines: Machines) -> str:
    """Return what every row of some tables still needs, with a total for each table and for all of them.

    Args:
        desk: where it works.
        chosen: the tables.
        tflops: TFLOP/s that a GPU keeps up.
        machines: what trainings and tests will use.

    Raises:
        UserError: a GPU that computes nothing.
    """
    if not tflops > 0:
        fix = "give what a training keeps up on your GPUs, or leave it away"
        raise UserError(problem("A GPU has to compute", got=f"--tflops {tflops:g}", allowed="more than 0", fix=fix))
    told = [f"On {desk.world.label}."]
    if not desk.world.is_synth:
        told[0] += f" GPU hours are of GPUs that keep up {tflops:g} TFLOP/s (--tflops), fed fast enough."
        told.append(f"A training, a fine-tuning and a test hold {machines.gpus or 'no'} GPUs each (--gpus).")
    for bound in chosen.bounds:
        table = chosen.tables[bound.key]
        told.append(f"\n{bound.key}: {table.title}")
        seen: set[str] = set()
        for row, sources in bound.rows.items():
            cells = tuple(dict.fromkeys(name for source in sources.values() for name in cells_of(source)))
            told += _row(f"{row} ({bound.standing[row]})", needs_of(desk, cells, tflops, machines, seen))
        if bound.pictures:
            cells = tuple(cell for cell, _ in bound.pictures.values())
            told += _row("pictures", needs_of(desk, cells, tflops, machines, seen))
        if table.cited:
            told.append(f"  {len(table.cited)} rows that the paper cites from others: nothing to run")
        told += total_lines(desk, bound.key, bound.cells(), tflops)
    asked = tuple(name for bound in chosen.bounds for name in bound.cells())
    if len(chosen.bounds) > 1:
        told += ["", *total_lines(desk, f"all {len(chosen.bounds)} tables", asked, tflops)]
    return "\n".join([*told, "", *_files(desk, asked)])


def _row(name: str, needs: Sequence[str]) -> list[str]:
    return [f"  {name}: {'needs' if needs else 'done'}", *(f"    {line}" for line in needs)]


def _files(desk: Desk, asked: tuple[str, ...]) -> Iterator[str]:
    """Where the files of the data sets belong that nobody has given."""
    needed = {cell.data for cell in closure(desk.cells, asked)}
    for name in DATA:
        if name in needed and not desk.world.is_synth and not desk.passport(name):
            yield from data_lines(name)


def data_lines(name: str) -> list[str]:
    """Return where the files of a data set belong, and how it is prepared."""
    official = OFFICIAL[name]
    return [
        f"{name}: {DATA[name]}, {official.splits}",
        *(f"  {line}" for line in _listed("official files: ", official.metadata)),
        f"    beside the videos, in {official.beside}/ there, or in the folder given with --metadata",
        f"  videos: {official.videos}",
        f"  then jobs/prepare_data.py --name {name} --source VIDEOS --out ROOT, and --data {name}=ROOT here",
        f"  disk for prepared frames: about {official.frames_gb:g} GB",
        *([f"    {official.frames_told}"] if official.frames_told else []),
    ]


def _listed(title: str, names: Sequence[str]) -> list[str]:
    """Names after a title, in lines that a screen can show."""
    return textwrap.wrap(", ".join(names), WIDTH, initial_indent=title, subsequent_indent="  ", break_on_hyphens=False)


def _left(desk: Desk, cells: tuple[str, ...]) -> list[Cell]:
    """What is not done, of some cells and all that they need; each once."""
    return [cell for cell in closure(desk.cells, cells) if not desk.is_done(cell)]


def needs_of(
    desk: Desk, cells: tuple[str, ...], tflops: float, machines: Machines, seen: set[str] | None = None
) -> list[str]:
    """Return what a row still needs; empty when all of it is done.

    Args:
        desk: where it works.
        cells: names of the cells that the row's numbers come from.
        tflops: TFLOP/s that a GPU keeps up.
        machines: what trainings and tests will use.
        seen: cells that have been told in full; this row's are added.
    """
    before = set(seen or ())
    left = _left(desk, cells)
    if seen is not None:
        seen.update(cell.name for cell in left)
    if desk.world.is_synth:
        again = [cell.name for cell in left if cell.name in before]
        new = [f"{cell.name}: {cell.title} ({_state(desk, cell)})" for cell in left if cell.name not in before]
        return [*([f"as above: {', '.join(again)}"] if again else []), *new]
    return [line for cell in left for line in _told(desk, cell, tflops, machines, cell.name in before)]


def _state(desk: Desk, cell: Cell) -> str:
    told = {"waits": "after its data", "to run": "to run"}
    return told.get(desk.state(cell), "needs people")


def _told(desk: Desk, cell: Cell, tflops: float, machines: Machines, again: bool) -> list[str]:
    lines = list(_lines(desk, cell, tflops, machines))
    if not again or not lines:
        return lines
    cost = cost_of(desk, cell, tflops).gpu_hours
    return [f"{lines[0].partition(':')[0]}: as above{f', {_hours(cost)}' if cost else ''}"]


def _lines(desk: Desk, cell: Cell, tflops: float, machines: Machines) -> Iterator[str]:
    """What a cell needs; the first line begins with its name and a colon."""
    if cell.kind == "data":
        yield f"data {cell.name}: {DATA[cell.name]}, {OFFICIAL[cell.name].splits}"
    elif cell.kind == "flow":
        yield from _flow_lines(cell, cost_of(desk, cell, tflops))
    elif cell.kind in ("train", "system"):
        yield from _training_lines(" ".join((cell.recipe, *cell.overrides)), desk.recipe_of(cell), tflops, machines)
        yield _published(cell)
    elif cell.kind == "annotate":
        yield f"edits: {EDITED}: mine, serve, seal; then --batches URI"
    elif cell.kind == "finetune":
        cost = cost_of(desk, cell, tflops)
        yield f"fine-tuning {cell.name} and its control: as long as training, each; {_hours(cost.finetuning)} for both"
        yield _machines_line(desk.recipe_of(base_of(desk, cell)), machines)
        yield f"  tests: {_passes(passes_of(desk, cell), tflops)}"
        yield f"  disk for checkpoints: {cost.checkpoints_gb:.1f} GB"
    elif cell.kind in ("test", "test-system", "mine"):
        name = "mining" if cell.kind == "mine" else "test"
        yield f"{name} {cell.name}: {_passes(passes_of(desk, cell), tflops)}"
    elif cell.kind == "import":
        yield f"import {cell.name}: {cell.options[0]}, by jobs/import_published.py"
    else:
        yield f"pictures {cell.name}: {cell.title}, by jobs/explain_two_stream.py, without a GPU"


def _passes(found: tuple[Passes, ...], tflops: float) -> str:
    """Clips, passes and GPU hours."""
    first, flop = found[0], sum(one.flop for one in found)
    clips = f"{' + '.join(f'{one.videos:,}' for one in found)} videos x {first.words}"
    if not flop:
        return f"{clips}; hours are known when its network is"
    return f"{clips} x {first.gflop:g} GFLOP, {_hours(hours(flop, tflops))}"


def _hours(value: float) -> str:
    told = f"{value:,.1f}" if value >= 1 else f"{value:.2f}" if value >= LEAST else f"under {LEAST}"
    return f"{told} GPU hours"


def _flow_lines(cell: Cell, cost: Cost) -> Iterator[str]:
    little, much = PAIRS_A_SECOND
    data = DATA[cell.data]
    yield f"flow {cell.name}: jobs/extract_flow.py {' '.join(cell.options)} on {data}, about {cost.flow_gb:g} GB"
    yield (
        f"  {OFFICIAL[cell.data].pairs / 1e6:g} million pairs, {_core_hours(cost)}: a core solves {little:g} a second "
        f"where little moves, {much:g} where much does"
    )
    yield "  on GPUs: not measured"


def _core_hours(cost: Cost) -> str:
    return f"{cost.flow_least:,.0f} to {cost.flow_most:,.0f} CPU core hours"


def _training_lines(name: str, recipe: Mapping[str, Any], tflops: float, machines: Machines) -> Iterator[str]:
    yield f"training {name}: {recipe['expected']['cost']}, {_hours(hours_of(recipe, tflops))}"
    yield _machines_line(recipe, machines)
    if "clip" in recipe:
        first = INITIAL[recipe["init"]["source"]].format(depth=recipe["model"]["depth"])
    else:
        first = STREAM_INITIAL[recipe["spatial"]["init"]["source"]]
    yield f"  first weights: {first or 'none'}, downloaded or in --checkpoints FOLDER"
    yield f"  disk for checkpoints: {disk_gb(recipe):.1f} GB"


def _machines_line(recipe: Mapping[str, Any], machines: Machines) -> str:
    return f"  machines: {machines.asked(recipe['compute'])} (--gpus {machines.gpus})"


def _published(cell: Cell) -> str:
    if cell.kind == "system":
        return "  published checkpoint: none; the thesis came without code"
    found = AUTHORS.get(cell.name)
    told = f"the authors' {found}, with --checkpoints FOLDER" if found else "none is known of this row"
    return f"  published checkpoint: {told}"


def total_lines(desk: Desk, name: str, cells: tuple[str, ...], tflops: float) -> list[str]:
    """Return what some cells and all that they need still cost together, each counted once."""
    left = _left(desk, cells)
    title = f"  total of {name}, each thing once:"
    if not left:
        return [f"{title} nothing, all is done"]
    if desk.world.is_synth:
        return [f"{title} {len(left)} cells to run"]
    cost = sum((cost_of(desk, cell, tflops) for cell in left), Cost())
    return [title, *(f"    {line}" for line in _sums(desk, left, cost))]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _sums(desk: Desk, left: Sequence[Cell], cost: Cost) -> Iterator[str]:
    counts = Counter(cell.kind for cell in left)
    unknown = sum(cell.kind == "test" and desk.cells[cell.needs[0]].kind == "import" for cell in left)
    trained, tested = counts["train"] + counts["system"], counts["test"] + counts["test-system"] - unknown
    if trained:
        yield f"{_counted(trained, 'training')}: {_hours(cost.training)}"
    if counts["finetune"]:
        yield f"fine-tuning and its control: {_hours(cost.finetuning)}; before it, people edit the clips"
    if cost.testing:
        more = ", mining" if counts["mine"] else ""
        more += ", networks of the fine-tuning" if counts["finetune"] else ""
        yield f"{_counted(tested, 'test')}{more}: {_hours(cost.testing)}"
    if sum(part > 0 for part in (cost.training, cost.finetuning, cost.testing)) > 1:
        yield f"together {_hours(cost.gpu_hours)}"
    if unknown:
        yield f"{_counted(unknown, 'test')} of published checkpoints: hours are known when their networks are"
    if counts["flow"]:
        yield f"flow of {_counted(counts['flow'], 'data set')}: {_core_hours(cost)}"
    sizes = {"frames": cost.frames_gb, "flow": cost.flow_gb, "checkpoints": cost.checkpoints_gb}
    if parts := [f"{gb:,.0f} GB of {what}" for what, gb in sizes.items() if gb]:
        yield f"disk: about {', '.join(parts)}"
    if files := [cell.name for cell in left if cell.kind == "data"]:
        yield f"data sets: {', '.join(files)}"
