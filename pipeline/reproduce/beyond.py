"""Rows beyond the papers: what they name as their future work, measured on the synth bench. No paper has a number."""

from collections.abc import Mapping

from pipeline.reproduce.cells import Bound, Cell, Picked
from pipeline.reproduce.papers import TOP, Row, Table
from pipeline.reproduce.world import World

TRANSFORMER = Table(
    key="beyond-transformer",
    title="ST-ABN on a Video Swin Transformer, in S0's pipeline",
    source="future work of S0 and S1; no paper has a row for it",
    pipeline="S0",
    columns=TOP,
    rows=(Row("ST-ABN Swin, 32"),),
    notes=("Half an hour on a core, so only with --beyond; s0-table-1 has the ResNets on the same videos.",),
)
TABLES: Mapping[str, Table] = {TRANSFORMER.key: TRANSFORMER}
COSTLY = frozenset({TRANSFORMER.key})
"""Tables that `all` leaves out unless --beyond is given."""


def cells_beyond(world: World) -> dict[str, Cell]:
    """Return the cells of these rows; only the synth bench has any."""
    if not world.is_synth:
        return {}
    trained = Cell(
        name="beyond-swin",
        kind="train",
        title="train swin_demo on Something-Something V2",
        lane="s0",
        data="ssv2",
        needs=("ssv2",),
        recipe="swin_demo",
        overrides=("clip.sampling=dense", "train.epochs=20", "train.eval_every=0"),
    )
    tested = Cell(
        name="beyond-swin-one",
        kind="test",
        title=f"test beyond-swin, {world.one_clip}",
        lane="s0",
        data="ssv2",
        needs=(trained.name, "ssv2"),
        options=("--protocol", world.one_clip, "--invert", "all"),
        results=("metrics.json", "predictions.parquet"),
    )
    return {cell.name: cell for cell in (trained, tested)}


def bounds_beyond(world: World) -> dict[str, Bound]:
    """Return what stands for each of these tables."""
    if not world.is_synth:
        return {}
    row = TRANSFORMER.rows[0].name
    sources = {name: Picked("beyond-swin-one", top=top) for name, top in zip(TOP, (1, 5), strict=True)}
    bound = Bound(key=TRANSFORMER.key, rows={row: sources}, standing={row: "swin_demo, 20 epochs"}, pictures={})
    return {bound.key: bound}
