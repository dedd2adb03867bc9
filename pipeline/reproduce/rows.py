"""What stands for every row of every table: the cells that a world has to run, and where each number comes from."""

from collections.abc import Iterator, Mapping
from itertools import chain, pairwise

from pipeline.reproduce.cells import Bound, Cell, Drop, Group, Picked, Seconds, Source
from pipeline.reproduce.papers import GAIN, GROUPS, S1_COLUMNS, STREAMS, TOP
from pipeline.reproduce.world import DATA, World

BASE, EDITS = "s0-stabn-r50", "s0-edits"
"""S0's network; the fine-tuning on edits of the one that people correct, with the control."""
S0 = tuple(f"s0-{model}-{depth}" for depth in ("r50", "r101") for model in ("baseline", "stabn"))
"""Networks of its table 1."""
PAIRED = ("ucf101", "hmdb51")
SYSTEMS = {
    "two-stream": "Two-Stream",
    "tsn": "TSN",
    "cross": "cross attention",
    "control": "control: as long, without maps",
}
WITHOUT_MAPS = "network.attention_channel=false"
"""Turns the recipe of cross attention into its control: the same rounds, and nothing that could hold a map."""
CURVES, LAYERS = "hmdb51-curves", "hmdb51-layers"
TRAINED = ("run.json", "step-*/state.pt")
"""What a run leaves. Looked for from here: a node's own disk may have it at the same path."""
INVERSIONS = {
    "none": "as trained",
    "spatial": "spatial inverted",
    "temporal": "temporal inverted",
    "both": "spatial and temporal inverted",
}


def cells_of_world(world: World) -> dict[str, Cell]:
    """Return everything that a world can run, by name."""
    parts = (_data(world), _s0(world), _edits(world), _s1(world), _thesis(world))
    return {cell.name: cell for cell in chain.from_iterable(parts)}


def _data(world: World) -> Iterator[Cell]:
    for name, title in DATA.items():
        yield Cell(
            name=name,
            kind="data",
            title=f"frames of {title}" + (", synthetic, in its layout" if world.is_synth else ""),
            lane=f"data-{name}",
            data=name,
            options=(*world.made.get(name, ()), "short side", world.short_side),
        )
    for name in PAIRED:
        yield Cell(
            name=f"{name}-flow",
            kind="flow",
            title=f"optical flow of {DATA[name]}",
            lane=f"data-{name}",
            data=name,
            needs=(name,),
            options=world.flow,
            results=("*/manifest.json",),
        )


def _trained(world: World, slot: str, lane: str, data: str) -> Cell:
    return Cell(
        name=slot,
        kind="train",
        title=f"train {world.recipes[slot]} on {DATA[data]}",
        lane=lane,
        data=data,
        needs=(data,),
        recipe=world.recipes[slot],
        results=TRAINED,
    )


def _tested(trained: Cell, protocol: str, name: str, *options: str) -> Cell:
    return Cell(
        name=f"{trained.name}-{name}",
        kind="test",
        title=f"test {trained.name}, {protocol}" + (", attention inverted too" if options else ""),
        lane=trained.lane,
        data=trained.data,
        needs=(trained.name, trained.data),
        options=("--protocol", protocol, *options),
        results=("metrics.json", "predictions.parquet"),
    )


def _s0(world: World) -> Iterator[Cell]:
    for slot in S0:
        trained = _trained(world, slot, "s0", "ssv2")
        yield trained
        inverted = ("--invert", "all") if slot in (BASE, world.corrected) else ()
        yield _tested(trained, world.one_clip, "one", *inverted)
        yield _tested(trained, world.two_clips, "two")
    if world.corrected not in S0:
        trained = _trained(world, world.corrected, "s0", "ssv2")
        yield trained
        yield _tested(trained, world.one_clip, "one", "--invert", "all")


def _edits(world: World) -> Iterator[Cell]:
    base, data = world.corrected, "ssv2"
    mined = Cell(
        name="s0-mined",
        kind="mine",
        title="find the clips that ST-ABN gets wrong",
        lane="s0",
        data=data,
        needs=(base, data),
        options=world.mined,
        results=("campaign.json",),
    )
    annotated = Cell(
        name="s0-annotated",
        kind="annotate",
        title="people say when it happens" + (", here programs that know the truth" if world.is_synth else ""),
        lane="s0",
        data=data,
        needs=(mined.name, base, data),
        results=("batches/*/manifest.json",),
    )
    yield mined
    yield annotated
    yield Cell(
        name=EDITS,
        kind="finetune",
        title="fine-tune on what people said, and the control without it",
        lane="s0",
        data=data,
        needs=(f"{base}-one", base, annotated.name, data),
        overrides=world.taught,
        results=("metrics.json", *(f"predictions-{name}.parquet" for name in ("before", "after", "control"))),
    )


def _s1(world: World) -> Iterator[Cell]:
    for version, data in (("v1", "ssv1"), ("v2", "ssv2")):
        for model in ("baseline", "stabn"):
            trained = _trained(world, f"s1-{version}-{model}", "s1", data)
            yield trained
            yield _tested(trained, world.one_clip, "one", *(("--invert", "all") if model == "stabn" else ()))
            yield _tested(trained, world.two_clips, "two")


def system_of(name: str, recipe: str, data: str, *overrides: str) -> Cell:
    """Return the training of a two-stream system."""
    changed = f" with {', '.join(overrides)}" if overrides else ""
    return Cell(
        name=name,
        kind="system",
        title=f"train {recipe}{changed} on {DATA[data]}",
        lane=data,
        data=data,
        needs=(data, f"{data}-flow"),
        recipe=recipe,
        overrides=overrides,
        results=("system.json",),
    )


def tested_system(world: World, system: Cell) -> Cell:
    """Return the test of a two-stream system."""
    return Cell(
        name=f"{system.name}-test",
        kind="test-system",
        title=f"test {system.name}",
        lane=system.lane,
        data=system.data,
        needs=(system.name, *system.needs),
        options=("--places", world.places),
        results=("*/metrics.json", "*/predictions.parquet"),
    )


def _thesis(world: World) -> Iterator[Cell]:
    for data in PAIRED:
        systems = [system_of(s, recipe, data) for s, recipe in world.recipes.items() if s.startswith(f"{data}-")]
        systems.append(system_of(f"{data}-control", world.recipes[f"{data}-cross"], data, WITHOUT_MAPS))
        for system in systems:
            yield system
            yield tested_system(world, system)
    both = ("hmdb51-cross", "hmdb51-alternating")
    for name, title, needs, options, results in (
        (CURVES, "draw the curves of both procedures", both, ("--videos", "0"), ("curves.png",)),
        (LAYERS, "draw where the streams look", both[:1], ("--videos", "3", "--no-curves"), ("layers-3.png",)),
    ):
        yield Cell(
            name=name,
            kind="curves" if name == CURVES else "layers",
            title=title,
            lane="hmdb51",
            data="hmdb51",
            needs=(*needs, "hmdb51", "hmdb51-flow"),
            options=options,
            results=results,
        )


def bounds_of_world(world: World) -> dict[str, Bound]:
    """Return what stands for every table of the papers, by its key."""
    found = (_s0_table_1(world), _s0_table_2(world), _s0_table_3(world), _s1_table_1(world), _s1_table_2(world))
    return {bound.key: bound for bound in (*found, *_thesis_bounds(world))}


def _standing(world: World, slot: str, protocol: str = "") -> str:
    if slot.endswith("-control"):
        return f"{world.recipes[slot.replace('control', 'cross')]} {WITHOUT_MAPS}"
    return world.recipes[slot] + (f", {protocol}" if protocol else "")


def _s0_table_1(world: World) -> Bound:
    rows: dict[str, Mapping[str, Source]] = {}
    standing = {}
    for depth in ("r50", "r101"):
        for text, name, protocol in (("32", "one", world.one_clip), ("32x2", "two", world.two_clips)):
            for model in ("baseline", "stabn"):
                slot, host = f"s0-{model}-{depth}", f"3D ResNet-{depth[1:]}"
                row = f"{'ST-ABN ' if model == 'stabn' else ''}{host}, {text}"
                rows[row] = _top(f"{slot}-{name}")
                standing[row] = _standing(world, slot, protocol)
    return Bound(key="s0-table-1", rows=rows, standing=standing, pictures={})


def _top(cell: str, inversion: str = "none", prefix: str = "") -> dict[str, Source]:
    return {
        f"{prefix}{name}": Picked(cell, inversion=inversion, top=top) for name, top in zip(TOP, (1, 5), strict=True)
    }


NETWORKS = {
    "ST-ABN": "before",
    "ST-ABN + human knowledge": "after",
    "control: as long, without human knowledge": "control",
}
"""Networks of the human-knowledge tables, by row."""


def edited(
    world: World, network: str, *, inversion: str = "none", top: int = 1, group: Group = "all", edits: str = EDITS
) -> Picked:
    """Return a reading of a network of a fine-tuning: before, after or control.

    Before is the network that people correct, which is tested as well; only its edited classes wait for people.
    """
    if network == "before" and group == "all":
        return Picked(f"{world.corrected}-one", inversion=inversion, top=top)
    return Picked(edits, f"predictions-{network}.parquet", inversion=inversion, top=top, group=group)


def _network(world: World, name: str) -> str:
    return world.corrected if name == "before" else f"{EDITS}, {name}"


def edited_by(world: World) -> str:
    """Say which videos chose the classes that people edit, and what follows for before and after."""
    if ("--on", "train") in pairwise(world.mined):
        return "Edited classes were chosen by training labels alone; the paper also looks at the videos that test them."
    return (
        "Edited classes are the worst on validation videos too, as in the paper, and the same videos test them. By "
        "chance, before is too low in them and too high in the others, so the gain is too large in the one and too "
        "small in the other; no interval or test here knows. All classes, and the comparison with the control, are "
        "free of it."
    )


def _s0_table_2(world: World) -> Bound:
    rows: dict[str, Mapping[str, Source]] = {}
    standing = {}
    for row, network in NETWORKS.items():
        rows[row] = {group: edited(world, network, group=group) for group in GROUPS}
        standing[row] = _network(world, network)
        if network == "after":
            after, before = ({g: edited(world, one, group=g) for g in GROUPS} for one in (network, "before"))
            rows[GAIN] = {g: Drop(of=after[g], to=before[g]) for g in GROUPS}
            standing[GAIN] = f"{_network(world, network)}, less {_network(world, 'before')}"
    return Bound(key="s0-table-2", rows=rows, standing=standing, pictures={}, notes=(edited_by(world),))


def _s0_table_3(world: World) -> Bound:
    rows: dict[str, Mapping[str, Source]] = {}
    for row in ("ST-ABN", "ST-ABN + human knowledge"):
        values: dict[str, Source] = {}
        for name, top in zip(TOP, (1, 5), strict=True):
            plain, inverted = (edited(world, NETWORKS[row], inversion=how, top=top) for how in ("none", "spatial"))
            values |= {name: plain, f"inverted {name}": inverted, f"drop {name}": Drop(plain, inverted)}
        rows[row] = values
    standing = {row: _network(world, NETWORKS[row]) for row in rows}
    return Bound(key="s0-table-3", rows=rows, standing=standing, pictures={})


def _s1_table_1(world: World) -> Bound:
    rows: dict[str, Mapping[str, Source]] = {}
    standing = {}
    for text, name, protocol in (("32", "one", world.one_clip), ("32+32", "two", world.two_clips)):
        for model in ("baseline", "stabn"):
            row = f"3D ResNet-50{' + ST-ABN' if model == 'stabn' else ''}, {text}"
            rows[row] = _both(f"{model}-{name}")
            standing[row] = f"{_standing(world, f's1-v1-{model}')} and {_standing(world, f's1-v2-{model}', protocol)}"
    return Bound(key="s1-table-1", rows=rows, standing=standing, pictures={})


def _both(name: str, inversion: str = "none") -> dict[str, Source]:
    """V1 and V2."""
    found = _top(f"s1-v1-{name}", inversion, "V1 ") | _top(f"s1-v2-{name}", inversion, "V2 ")
    assert tuple(found) == S1_COLUMNS
    return found


def _s1_table_2(world: World) -> Bound:
    rows = {row: _both("stabn-one", how) for how, row in INVERSIONS.items()}
    both = f"{_standing(world, 's1-v1-stabn')} and {_standing(world, 's1-v2-stabn', world.one_clip)}"
    standing = dict.fromkeys(rows, both)
    return Bound(key="s1-table-2", rows=rows, standing=standing, pictures={})


def stream(system: str, part: str, variant: str = "") -> Picked:
    """Return a reading of a two-stream test.

    Args:
        system: slot of the system.
        part: spatial, temporal or fusion.
        variant: without, with or blind; empty is what the system was trained for.
    """
    attention = system.endswith(("-cross", "-alternating"))
    column = "fused" if part == "fusion" else part
    return Picked(
        f"{system}-test", "*/predictions.parquet", f"{variant or ('with' if attention else 'without')}_{column}"
    )


def _thesis_bounds(world: World) -> Iterator[Bound]:
    hmdb = {slot: f"hmdb51-{slot}" for slot in SYSTEMS}
    yield Bound(
        key="thesis-table-4.1",
        rows={SYSTEMS[slot]: {part: stream(name, part) for part in STREAMS} for slot, name in hmdb.items()},
        standing={SYSTEMS[slot]: _standing(world, name) for slot, name in hmdb.items()},
        pictures={},
    )
    yield Bound(
        key="thesis-table-4.2",
        rows={
            name: {"UCF-101": stream(f"ucf101-{slot}", "fusion"), "HMDB-51": stream(f"hmdb51-{slot}", "fusion")}
            for slot, name in SYSTEMS.items()
        },
        standing={
            name: f"{_standing(world, f'ucf101-{slot}').split()[0]} and {_standing(world, f'hmdb51-{slot}')}"
            for slot, name in SYSTEMS.items()
        },
        pictures={},
    )
    procedures = {"two phases": "hmdb51-cross", "Algorithm 1, alternating": "hmdb51-alternating"}
    yield Bound(
        key="thesis-figure-4.1",
        rows={
            row: {**{part: stream(slot, part) for part in STREAMS}, "seconds": Seconds(slot)}
            for row, slot in procedures.items()
        },
        standing={row: _standing(world, slot) for row, slot in procedures.items()},
        pictures={"curves": (CURVES, "curves.png")},
    )
    yield Bound(
        key="thesis-figure-4.2",
        rows={},
        standing={},
        pictures={f"layers-{n}": (LAYERS, f"layers-{n}.png") for n in (1, 2, 3)},
    )
