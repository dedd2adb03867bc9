"""The tables as they are published: numbers of the papers, with their source, and none of ours.

S0 is the Japanese paper on ST-ABN and human knowledge, S2 its English poster, S1 the two-page abstract on ST-ABN alone,
S3 the Korean thesis on two streams with cross attention. S0 and S2 report one pipeline, S1 another one with other
numbers under the same names, so a table belongs to a pipeline and is never compared with a row of another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.reproduce.cells import Group

Pipeline = Literal["S0", "S1", "S3"]
"""Whose protocol: S0 (and its poster S2) tests 32 consecutive frames, S1 the middles of 32 segments, S3 two streams."""


@dataclass(frozen=True)
class Row:
    """One published row."""

    name: str
    """As the paper has it."""
    values: Mapping[str, float | None] = field(default_factory=dict)
    """Percent by column; None where the only copy at hand cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One published table, or what stands for a figure."""

    key: str
    """Its name on the command line."""
    title: str
    source: str
    pipeline: Pipeline
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    cited: tuple[Row, ...] = ()
    """Rows that the paper itself cites from others; nothing here stands for them."""
    notes: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    """Names of the pictures that stand for a figure."""

    def value(self, row: str, column: str) -> float | None:
        """Return the published percentage, or None."""
        return next(one.values.get(column) for one in self.rows if one.name == row)


TOP = ("top-1", "top-5")
GROUPS: tuple[Group, ...] = ("edited", "other", "all")
STREAMS = ("spatial", "temporal", "fusion")


def _top(name: str, top1: float, top5: float | None) -> Row:
    return Row(name, dict(zip(TOP, (top1, top5), strict=True)))


S0_TABLE_1 = Table(
    key="s0-table-1",
    title="Something-Something V2: ST-ABN and its baseline",
    source="S0 table 1, repeated by S2",
    pipeline="S0",
    columns=TOP,
    rows=(
        _top("3D ResNet-50, 32", 51.4, 80.1),
        _top("ST-ABN 3D ResNet-50, 32", 58.6, 85.5),
        _top("3D ResNet-50, 32x2", 63.8, 89.2),
        _top("ST-ABN 3D ResNet-50, 32x2", 64.1, 89.6),
        _top("3D ResNet-101, 32", 57.7, 82.8),
        _top("ST-ABN 3D ResNet-101, 32", 58.0, 83.2),
        _top("3D ResNet-101, 32x2", 65.3, 90.1),
        _top("ST-ABN 3D ResNet-101, 32x2", 65.8, 90.4),
    ),
    cited=(
        _top("TSN, BN-Inception, 8", 27.8, 57.6),
        _top("TRN Multiscale, BN-Inception, 8", 48.8, 77.6),
        _top("TRN Two-stream, BN-Inception, 16", 55.5, 83.1),
        _top("CPNet, ResNet-34, 24", 57.7, 84.0),
        _top("TSM, ResNet-50, 8", 59.1, 85.6),
        _top("TSM, ResNet-50, 16", 63.4, 88.5),
        _top("STM, ResNet-50, 8", 62.3, 88.8),
        _top("STM, ResNet-50, 16", 64.2, 89.8),
        _top("GST, ResNet-50, 16", 62.6, 87.9),
        _top("ABM, ResNet-50, 16x3", 61.3, None),
        _top("DFB-Net, ResNet-152, 16", 57.7, 84.0),
        _top("bLVNet-TAM, bLResNet-101, 32x2", 65.2, 90.3),
        _top("SmallBigEn, ResNet-50, 24x2x3", 64.5, 89.1),
        _top("PEM, ResNet-50, 16x2", 65.0, None),
        _top("Zhou et al., 3D DenseNet-121, 16", 62.9, 88.0),
    ),
    notes=(
        "The authors' released baseline has temporal strides; ours is ST-ABN's own backbone, so that the branch is the "
        "only difference (docs/decisions/0001).",
    ),
)
S0_TABLE_2 = Table(
    key="s0-table-2",
    title="Something-Something V2: human knowledge, by classes that people edited and the others (top-1)",
    source="S0 table 2; S2 rounds it",
    pipeline="S0",
    columns=GROUPS,
    rows=(
        Row("ST-ABN", {"edited": 20.50, "other": 59.76, "all": 58.62}),
        Row("ST-ABN + human knowledge", {"edited": 26.32, "other": 61.68, "all": 60.65}),
        Row("control: as long, without human knowledge", {}),
    ),
    notes=("The control is ours; S0 reports none.",),
)
S0_TABLE_3 = Table(
    key="s0-table-3",
    title="Something-Something V2: spatial attention inverted, before and after human knowledge",
    source="S0 table 3",
    pipeline="S0",
    columns=("top-1", "inverted top-1", "drop top-1", "top-5", "inverted top-5", "drop top-5"),
    rows=(
        Row(
            "ST-ABN",
            {
                "top-1": 58.62,
                "inverted top-1": 27.12,
                "drop top-1": 31.5,
                "top-5": 85.45,
                "inverted top-5": 52.68,
                "drop top-5": 32.8,
            },
        ),
        Row(
            "ST-ABN + human knowledge",
            {
                "top-1": 60.65,
                "inverted top-1": 20.09,
                "drop top-1": 40.6,
                "top-5": 86.93,
                "inverted top-5": 43.35,
                "drop top-5": 43.6,
            },
        ),
    ),
)
S1_COLUMNS = ("V1 top-1", "V1 top-5", "V2 top-1", "V2 top-5")


def _s1(name: str, *values: float) -> Row:
    return Row(name, dict(zip(S1_COLUMNS, values, strict=True)))


S1_TABLE_1 = Table(
    key="s1-table-1",
    title="Something-Something V1 and V2: ST-ABN and its baseline, 3D ResNet-50",
    source="S1 table 1",
    pipeline="S1",
    columns=S1_COLUMNS,
    rows=(
        _s1("3D ResNet-50, 32", 45.2, 74.5, 55.6, 81.6),
        _s1("3D ResNet-50 + ST-ABN, 32", 45.9, 75.4, 56.6, 82.0),
        _s1("3D ResNet-50, 32+32", 52.9, 81.5, 63.8, 89.2),
        _s1("3D ResNet-50 + ST-ABN, 32+32", 53.3, 82.0, 64.1, 89.6),
    ),
)
S1_TABLE_2 = Table(
    key="s1-table-2",
    title="Something-Something V1 and V2: attention inverted",
    source="S1 table 2",
    pipeline="S1",
    columns=S1_COLUMNS,
    rows=(
        Row("as trained", {"V1 top-1": 45.9, "V1 top-5": 75.4}),
        Row("spatial inverted"),
        Row("temporal inverted"),
        Row("spatial and temporal inverted"),
    ),
    notes=(
        "The copy at hand is damaged: ten of sixteen numbers survive and cannot be placed, but for the first pair, "
        "which is table 1's row of V1. Only the order that the text states is a target: none, either one, both.",
    ),
)
THESIS_TABLE_41 = Table(
    key="thesis-table-4.1",
    title="HMDB-51, split 1: streams and their fusion (top-1)",
    source="S3 table 4.1",
    pipeline="S3",
    columns=STREAMS,
    rows=(
        Row("Two-Stream", {"spatial": 40.5, "temporal": 54.6, "fusion": 59.4}),
        Row("TSN", {"spatial": 55.0, "temporal": 63.0, "fusion": 68.5}),
        Row("cross attention", {"spatial": 55.03, "temporal": 63.9, "fusion": 71.2}),
    ),
    notes=(
        "The thesis cites Two-Stream and TSN from their papers: other networks, and means of three splits. Ours are on "
        "the thesis's network and on split 1.",
    ),
)
THESIS_TABLE_42 = Table(
    key="thesis-table-4.2",
    title="UCF-101 and HMDB-51: fusion (top-1)",
    source="S3 table 4.2",
    pipeline="S3",
    columns=("UCF-101", "HMDB-51"),
    rows=(
        Row("Two-Stream", {"UCF-101": 88.0, "HMDB-51": 59.4}),
        Row("TSN", {"UCF-101": 94.0, "HMDB-51": 68.5}),
        Row("cross attention", {"UCF-101": 92.7, "HMDB-51": 71.2}),
    ),
    notes=("Split 1 of each; the cited rows are means of three splits, of other networks.",),
)
THESIS_FIGURE_41 = Table(
    key="thesis-figure-4.1",
    title="HMDB-51, split 1: two phases against Algorithm 1 (top-1, and seconds of training)",
    source="S3 figure 4.1, which has curves and no numbers",
    pipeline="S3",
    columns=(*STREAMS, "seconds"),
    rows=(Row("two phases"), Row("Algorithm 1, alternating")),
    pictures=("curves",),
)
THESIS_FIGURE_42 = Table(
    key="thesis-figure-4.2",
    title="HMDB-51, split 1: where both streams look, by the layer of Grad-CAM",
    source="S3 figure 4.2, pictures",
    pipeline="S3",
    columns=(),
    rows=(),
    pictures=("layers-1", "layers-2", "layers-3"),
)
PAPERS: Mapping[str, Table] = {
    table.key: table
    for table in (
        S0_TABLE_1,
        S0_TABLE_2,
        S0_TABLE_3,
        S1_TABLE_1,
        S1_TABLE_2,
        THESIS_TABLE_41,
        THESIS_TABLE_42,
        THESIS_FIGURE_41,
        THESIS_FIGURE_42,
    )
}
