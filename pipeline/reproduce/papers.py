"""The tables as they are published: numbers of the papers, with their source, and none of ours.

S0 is the Japanese paper on ST-ABN and human knowledge, S2 its English poster, S1 the two-page abstract on ST-ABN alone,
S3 the Korean thesis on two streams with cross attention. S0 and S2 report one pipeline, S1 another one with other
numbers under the same names, so a table belongs to a pipeline and is never compared with a row of another one.
Numbers are text: how many digits a paper gives is part of what it says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.reproduce.cells import Group

Pipeline = Literal["S0", "S1", "S3"]
"""Whose protocol: S0 (and its poster S2) tests 32 consecutive frames, S1 the middles of 32 segments, S3 two streams."""
ABSENT = "-"
"""Stands where a paper has no number."""


@dataclass(frozen=True)
class Row:
    """One published row."""

    name: str
    """As the paper has it."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Percent by column, in the digits of the paper; a column without a number of the paper is not there."""


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

    def published(self, row: str, column: str) -> str:
        """Return the published percentage in the paper's digits; empty when the paper has none."""
        return next(one.values.get(column, "") for one in self.rows if one.name == row)

    def value(self, row: str, column: str) -> float | None:
        """Return the published percentage, or None."""
        text = self.published(row, column)
        return float(text) if text else None

    def cited_lines(self) -> list[str]:
        """Return what the paper cites from others as a Markdown list; empty when it cites nothing."""
        return [
            f"- {row.name}: " + ", ".join(f"{column} {text}" for column, text in row.values.items())
            for row in self.cited
        ]


TOP = ("top-1", "top-5")
GROUPS: tuple[Group, ...] = ("edited", "other", "all")
STREAMS = ("spatial", "temporal", "fusion")


def _row(columns: tuple[str, ...], name: str, numbers: str) -> Row:
    """A row as it is printed; - stands where the paper has no number."""
    values = dict(zip(columns, numbers.split(), strict=True))
    return Row(name, {column: text for column, text in values.items() if text != ABSENT})


def _top(name: str, numbers: str) -> Row:
    return _row(TOP, name, numbers)


S0_TABLE_1 = Table(
    key="s0-table-1",
    title="Something-Something V2: ST-ABN and its baseline",
    source="S0 table 1, repeated by S2",
    pipeline="S0",
    columns=TOP,
    rows=(
        _top("3D ResNet-50, 32", "51.4 80.1"),
        _top("ST-ABN 3D ResNet-50, 32", "58.6 85.5"),
        _top("3D ResNet-50, 32x2", "63.8 89.2"),
        _top("ST-ABN 3D ResNet-50, 32x2", "64.1 89.6"),
        _top("3D ResNet-101, 32", "57.7 82.8"),
        _top("ST-ABN 3D ResNet-101, 32", "58.0 83.2"),
        _top("3D ResNet-101, 32x2", "65.3 90.1"),
        _top("ST-ABN 3D ResNet-101, 32x2", "65.8 90.4"),
    ),
    cited=(
        _top("TSN, BN-Inception, 8", "27.8 57.6"),
        _top("TRN Multiscale, BN-Inception, 8", "48.8 77.6"),
        _top("TRN Two-stream, BN-Inception, 16", "55.5 83.1"),
        _top("CPNet, ResNet-34, 24", "57.7 84.0"),
        _top("TSM, ResNet-50, 8", "59.1 85.6"),
        _top("TSM, ResNet-50, 16", "63.4 88.5"),
        _top("STM, ResNet-50, 8", "62.3 88.8"),
        _top("STM, ResNet-50, 16", "64.2 89.8"),
        _top("GST, ResNet-50, 16", "62.6 87.9"),
        _top("ABM, ResNet-50, 16x3", "61.3 -"),
        _top("DFB-Net, ResNet-152, 16", "57.7 84.0"),
        _top("bLVNet-TAM, bLResNet-101, 32x2", "65.2 90.3"),
        _top("SmallBigEn, ResNet-50, 24x2x3", "64.5 89.1"),
        _top("PEM, ResNet-50, 16x2", "65.0 -"),
        _top("Zhou et al., 3D DenseNet-121, 16", "62.9 88.0"),
    ),
    notes=(
        "The authors' released baseline has temporal strides; ours is ST-ABN's own backbone, so that the branch is the "
        "only difference (docs/decisions/0001).",
    ),
)
GAIN = "gain by human knowledge"
S0_TABLE_2 = Table(
    key="s0-table-2",
    title="Something-Something V2: human knowledge, by classes that people edited and the others (top-1)",
    source="S0 table 2; S2 rounds it",
    pipeline="S0",
    columns=GROUPS,
    rows=(
        _row(GROUPS, "ST-ABN", "20.50 59.76 58.62"),
        _row(GROUPS, "ST-ABN + human knowledge", "26.32 61.68 60.65"),
        _row(GROUPS, GAIN, "5.8 1.9 2.03"),
        Row("control: as long, without human knowledge"),
    ),
    notes=("The control is ours; S0 reports none.", "The gain is in points, as S0 states it."),
)
INVERTED = ("top-1", "inverted top-1", "drop top-1", "top-5", "inverted top-5", "drop top-5")
S0_TABLE_3 = Table(
    key="s0-table-3",
    title="Something-Something V2: spatial attention inverted, before and after human knowledge",
    source="S0 table 3",
    pipeline="S0",
    columns=INVERTED,
    rows=(
        _row(INVERTED, "ST-ABN", "58.62 27.12 31.5 85.45 52.68 32.8"),
        _row(INVERTED, "ST-ABN + human knowledge", "60.65 20.09 40.6 86.93 43.35 43.6"),
    ),
)
S1_COLUMNS = ("V1 top-1", "V1 top-5", "V2 top-1", "V2 top-5")
S1_TABLE_1 = Table(
    key="s1-table-1",
    title="Something-Something V1 and V2: ST-ABN and its baseline, 3D ResNet-50",
    source="S1 table 1",
    pipeline="S1",
    columns=S1_COLUMNS,
    rows=(
        _row(S1_COLUMNS, "3D ResNet-50, 32", "45.2 74.5 55.6 81.6"),
        _row(S1_COLUMNS, "3D ResNet-50 + ST-ABN, 32", "45.9 75.4 56.6 82.0"),
        _row(S1_COLUMNS, "3D ResNet-50, 32+32", "52.9 81.5 63.8 89.2"),
        _row(S1_COLUMNS, "3D ResNet-50 + ST-ABN, 32+32", "53.3 82.0 64.1 89.6"),
    ),
)
S1_TABLE_2 = Table(
    key="s1-table-2",
    title="Something-Something V1 and V2: attention inverted",
    source="S1 table 2",
    pipeline="S1",
    columns=S1_COLUMNS,
    rows=(
        _row(S1_COLUMNS, "as trained", "45.9 75.4 - -"),
        Row("spatial inverted"),
        Row("temporal inverted"),
        Row("spatial and temporal inverted"),
    ),
    notes=(
        "The copy at hand is damaged: of sixteen numbers ten survive, one pair a line. Without a tick 45.9/75.4, which "
        "is table 1's row of V1; S 36.2/66.8; T 28.3/57.4; S+T 22.7/50.0; and 12.4/29.0 in a line without a label.",
        "Whether the pairs of S, T and S+T are of V1 or of V2 is open, and what the last one is of: none of the four "
        "is a target. The order that the text states is one: without inversion best, either one alone, both worst.",
    ),
)
THESIS_TABLE_41 = Table(
    key="thesis-table-4.1",
    title="HMDB-51, split 1: streams and their fusion (top-1)",
    source="S3 table 4.1",
    pipeline="S3",
    columns=STREAMS,
    rows=(
        _row(STREAMS, "Two-Stream", "40.5 54.6 59.4"),
        _row(STREAMS, "TSN", "55 63 68.5"),
        _row(STREAMS, "cross attention", "55.03 63.9 71.2"),
        Row("control: as long, without maps"),
    ),
    notes=(
        "The control is ours: both rounds of the system with cross attention, without the channel that holds the maps.",
        "The thesis cites Two-Stream and TSN from their papers: other networks, and means of three splits. Ours are on "
        "the thesis's network and on split 1.",
    ),
)
BOTH = ("UCF-101", "HMDB-51")
THESIS_TABLE_42 = Table(
    key="thesis-table-4.2",
    title="UCF-101 and HMDB-51: fusion (top-1)",
    source="S3 table 4.2",
    pipeline="S3",
    columns=BOTH,
    rows=(
        _row(BOTH, "Two-Stream", "88.0 59.4"),
        _row(BOTH, "TSN", "94.0 68.5"),
        _row(BOTH, "cross attention", "92.7 71.2"),
        Row("control: as long, without maps"),
    ),
    notes=(
        "The control is ours, as in table 4.1.",
        "Split 1 of each; the cited rows are means of three splits, of other networks.",
    ),
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
