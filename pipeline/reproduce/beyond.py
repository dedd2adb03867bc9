"""Rows beyond the papers: what they name as their future work, measured on the synth bench. No paper has a number.

Each table stands alone and is asked for by name, or all of them by --beyond.
"""

from collections.abc import Iterator, Mapping

from pipeline.reproduce.cells import Bound, Cell, Drop, Picked, Source, Stated
from pipeline.reproduce.commands import EXPLANATIONS
from pipeline.reproduce.judge import Claim, Part
from pipeline.reproduce.papers import GROUPS, STREAMS, TOP, Row, Table
from pipeline.reproduce.rows import BASE, TRAINED, edited, stream, system_of, tested_system
from pipeline.reproduce.rows import EDITS as WHEN
from pipeline.reproduce.world import World

PLACES = "beyond-edits"
"""The fine-tuning on where people pointed as well as on when."""
LABELS = "hmdb51-labels-cross"
"""Two streams whose attention nets no Grad-CAM map has taught."""
SWIN = "beyond-swin"

MAPPED = ("spatial", "temporal")
ON_OBJECT = "{} map on the object"
EXPLAINED = "beyond-explained"


def told(kind: str) -> str:
    """Say the name of a curve: units_mode."""
    return kind.replace("_", ", ")


EDITS = Table(
    key="beyond-spatial-edits",
    title="human knowledge of where as well as of when (top-1)",
    source="future work of S0, which edits temporal attention only",
    pipeline="S0",
    columns=GROUPS,
    rows=(Row("ST-ABN + when"), Row("ST-ABN + when and where"), Row("control: as long, with neither")),
    notes=("What is learnt, and what not: docs/decisions/0020.",),
)
SUPERVISION = Table(
    key="beyond-attention-nets",
    title="HMDB-51, split 1: attention nets that learn from classes instead of Grad-CAM (top-1)",
    source="future work of S3",
    pipeline="S3",
    columns=(*STREAMS, *(ON_OBJECT.format(stream) for stream in MAPPED)),
    rows=(Row("attention nets taught by Grad-CAM"), Row("attention nets taught by the labels alone")),
    notes=(
        "What such a map means: docs/decisions/0020.",
        "Maps on the object: area under the curve of cells in its box against cells outside; 0.5 is chance.",
    ),
)
TRANSFORMER = Table(
    key="beyond-transformer",
    title="ST-ABN on a Video Swin Transformer",
    source="future work of S0 and S1",
    pipeline="S0",
    columns=TOP,
    rows=(Row("ST-ABN 3D ResNet, 32"), Row("ST-ABN Swin, 32")),
    notes=(
        "The transformer sees 28 pixels and the ResNet 64: what each learns in minutes, and no equal contest of hosts.",
        "The transformer and the clips that fit it: docs/decisions/0018.",
    ),
)
METHODS = {"attention": "ST-ABN", "grad_cam": "Grad-CAM", "random": "random"}
CURVES = ("frames_deletion", "frames_insertion", "pixels_deletion", "pixels_insertion")
"""By the names of `eval.report`, whose module would take seconds to import."""
AUC = "AUC, active frames"
WHERE = "AUC, cells on the object"
INVERTED: Mapping[str, str] = {"drop, temporal inverted": "temporal", "drop, spatial inverted": "spatial"}
"""Of ST-ABN alone: nothing else can be inverted."""
FAITHFUL = Table(
    key="beyond-explanations",
    title="how faithful explanations are: what probability is left, or comes back, as what they point at goes or comes",
    source="ours; the papers have inversion alone",
    pipeline="S0",
    columns=(
        *(column for kind in CURVES for column in (told(kind), f"{told(kind)}, minus random")),
        *(AUC, WHERE),
        *INVERTED,
    ),
    rows=tuple(Row(name) for name in METHODS.values()),
    pictures=("curves",),
    notes=(
        "Areas under the probability of the predicted class: deletion is good when low, insertion when high.",
        "Agreement is with frames that are known to be active, and in those with the object's box; 0.5 is chance.",
        "Drops: points of top-1 over all test clips. How all are made: docs/decisions/0018.",
    ),
)
TABLES: Mapping[str, Table] = {table.key: table for table in (FAITHFUL, EDITS, SUPERVISION, TRANSFORMER)}
COSTLY = frozenset(TABLES)
"""Tables that `all` leaves out unless --beyond is given."""


def cells_beyond(world: World) -> dict[str, Cell]:
    """Return the cells of these rows; only the synth bench has any."""
    if not world.is_synth:
        return {}
    parts = (_explained(world), _edits(world), _labels(world), _swin(world))
    return {cell.name: cell for part in parts for cell in part}


def _explained(world: World) -> Iterator[Cell]:
    yield Cell(
        name=EXPLAINED,
        kind="test",
        title="follow deletion and insertion of what ST-ABN, Grad-CAM and random maps point at",
        lane="s0",
        data="ssv2",
        needs=(BASE, "ssv2"),
        options=("--protocol", world.one_clip, EXPLANATIONS, "48"),
        results=("metrics.json", "explanations.png"),
    )


def _edits(world: World) -> Iterator[Cell]:
    data = "ssv2"
    yield Cell(
        name="beyond-mined",
        kind="mine",
        title="find the clips that ST-ABN gets wrong, to be pointed at too",
        lane="s0",
        data=data,
        needs=(world.corrected, data),
        options=(*world.mined, "--spatial"),
        results=("campaign.json",),
    )
    yield Cell(
        name="beyond-annotated",
        kind="annotate",
        title="programs that know the truth say when, and point",
        lane="s0",
        data=data,
        needs=("beyond-mined", world.corrected, data),
        results=("batches/*/manifest.json",),
    )
    yield Cell(
        name=PLACES,
        kind="finetune",
        title="fine-tune on when and where, and the control without either",
        lane="s0",
        data=data,
        needs=(f"{world.corrected}-one", world.corrected, "beyond-annotated", data),
        overrides=world.taught,
        options=("--gamma-s", "10"),
        results=("metrics.json", *(f"predictions-{name}.parquet" for name in ("before", "after", "control"))),
    )


def _labels(world: World) -> Iterator[Cell]:
    system = system_of(LABELS, world.recipes["hmdb51-cross"], "hmdb51", "attention.learns=labels")
    yield system
    yield tested_system(world, system)


def _swin(world: World) -> Iterator[Cell]:
    yield Cell(
        name=SWIN,
        kind="train",
        title="train swin_bench on Something-Something V2",
        lane="s0",
        data="ssv2",
        needs=("ssv2",),
        recipe="swin_bench",
        results=TRAINED,
    )
    yield Cell(
        name=f"{SWIN}-one",
        kind="test",
        title=f"test {SWIN}, {world.one_clip}",
        lane="s0",
        data="ssv2",
        needs=(SWIN, "ssv2"),
        options=("--protocol", world.one_clip),
        results=("metrics.json", "predictions.parquet"),
    )


def bounds_beyond(world: World) -> dict[str, Bound]:
    """Return what stands for each of these tables."""
    if not world.is_synth:
        return {}
    sources: Mapping[str, tuple[Mapping[str, Source], ...]] = {
        EDITS.key: tuple(
            {group: edited(world, network, group=group, edits=edits) for group in GROUPS}
            for network, edits in (("after", WHEN), ("after", PLACES), ("control", PLACES))
        ),
        FAITHFUL.key: tuple(_curves(method) for method in METHODS),
        SUPERVISION.key: tuple(
            {part: stream(system, part) for part in STREAMS} | _on_object(f"{system}-test")
            for system in ("hmdb51-cross", LABELS)
        ),
        TRANSFORMER.key: tuple(
            {name: Picked(f"{cell}-one", top=top) for name, top in zip(TOP, (1, 5), strict=True)}
            for cell in (BASE, SWIN)
        ),
    }
    words = {
        FAITHFUL.key: (f"{BASE}, {world.one_clip}",) * len(METHODS),
        EDITS.key: (f"{WHEN}, after", f"{PLACES}, after", f"{PLACES}, control"),
        SUPERVISION.key: (world.recipes["hmdb51-cross"], f"{world.recipes['hmdb51-cross']} attention.learns=labels"),
        TRANSFORMER.key: (world.recipes[BASE], "swin_bench"),
    }
    return {key: _bound(table, sources[key], words[key]) for key, table in TABLES.items()}


def _curves(method: str) -> dict[str, Source]:
    clips, base = ("explanations", "clips"), ("explanations", "methods", method)
    found: dict[str, Source] = {}
    for kind in CURVES:
        found[told(kind)] = Stated(EXPLAINED, (*base, kind, "area"), clips)
        if method != "random":
            found[f"{told(kind)}, minus random"] = Stated(EXPLAINED, (*base, kind, "against_random"), clips)
    if method == "attention":
        tested = f"{BASE}-one"
        found |= {name: Drop(Picked(tested), Picked(tested, inversion=invert)) for name, invert in INVERTED.items()}
    for name, kind in ((AUC, "truth"), (WHERE, "truth_where")):
        found[name] = Stated(EXPLAINED, (*base, kind, "auc"), (*base, kind, "clips"))
    return found


def _on_object(test: str) -> dict[str, Source]:
    base = "maps_on_object"
    return {ON_OBJECT.format(s): Stated(test, (base, s, "auc"), (base, s, "clips")) for s in MAPPED}


def _bound(table: Table, sources: tuple[Mapping[str, Source], ...], words: tuple[str, ...]) -> Bound:
    names = [row.name for row in table.rows]
    return Bound(
        key=table.key,
        rows=dict(zip(names, sources, strict=True)),
        standing=dict(zip(names, words, strict=True)),
        pictures={"curves": (EXPLAINED, "explanations.png")} if table is FAITHFUL else {},
    )


def claims_beyond(world: World) -> tuple[Claim, ...]:
    """Return what these rows might show; nobody has claimed it."""
    when, where = ({g: edited(world, "after", group=g, edits=edits) for g in GROUPS} for edits in (WHEN, PLACES))
    groups = (Part(f"{g} classes", when[g], where[g]) for g in GROUPS)
    parts = (Part(f"HMDB-51, {part}", stream("hmdb51-cross", part), stream(LABELS, part)) for part in STREAMS)
    swin = Part("3D ResNet, 64 pixels, against Swin, 28", Picked(f"{BASE}-one"), Picked(f"{SWIN}-one"), across=True)
    ours = "beyond the papers, top-1; nobody has claimed it"
    return (
        Claim(text="knowing where adds to knowing when", source=ours, pipeline="S0", parts=tuple(groups)),
        Claim(text="attention nets do without Grad-CAM, and better", source=ours, pipeline="S3", parts=tuple(parts)),
        Claim(text="a transformer host is above the ResNet", source=ours, pipeline="S0", parts=(swin,)),
    )
