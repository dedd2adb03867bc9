import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.flow import catalog
from pipeline.flow.catalog import FlowError, FlowRow, count, from_parquet, passport_of, to_parquet
from pipeline.flow.config import FlowCodec, FlowConfig
from pipeline.flow.dataset import FlowDataset, default_root, differences, find
from pipeline.flow.extract import ExtractOptions, extract, in_process
from pipeline.flow.solver import Solver
from pipeline.flow.tvl1 import TvL1Config

ROWS = (
    FlowRow(
        id="a/1",
        status=catalog.OK,
        pairs=4,
        height=48,
        width=64,
        backend="opencv",
        sha256="11",
        shard="shards/00000-x.arrow",
        row=0,
    ),
    FlowRow(id="a/2", status=catalog.QUARANTINED, reason=catalog.WRONG_COUNT, detail="3 files"),
)
MADE = [{"numpy": "2", "opencv": "5", "pyarrow": "25"}]


def run(prepared, root, config):
    return extract(prepared, root, config, in_process(Solver("opencv")), ExtractOptions(backends=("opencv",)))


@pytest.fixture(scope="module")
def made(prepared_root, quick, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("made") / "flow")
    run(PreparedDataset.open(str(prepared_root)), root, quick)
    return root


def test_rows_survive_parquet_and_count(tmp_path):
    assert from_parquet(to_parquet(ROWS)) == ROWS
    assert to_parquet(ROWS) == to_parquet(ROWS)
    counts = count(ROWS)
    assert (counts.videos, counts.ok, counts.quarantined, counts.pairs) == (2, 1, 1, 4)
    assert counts.by_reason == {catalog.WRONG_COUNT: 1}
    with pytest.raises(AssertionError, match="or a reason why not"):
        count([replace(ROWS[0], row=-1)])
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="the columns are"):
        from_parquet((tmp_path / "other.parquet").read_bytes())


def test_an_unknown_reason_is_a_programmers_mistake():
    assert str(FlowError(catalog.MISSING, "no folder")) == "missing: no folder"
    with pytest.raises(AssertionError):
        FlowError("bad weather", "")


CONFIG = FlowConfig()


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"config": FlowConfig(bound=15.0)}, "bound"),
        ({"config": FlowConfig(size=(340, 256))}, "size"),
        ({"config": FlowConfig(codec=FlowCodec(format="png"))}, "codec"),
        ({"config": FlowConfig(tvl1=TvL1Config(warps=4))}, "tvl1"),
        ({"frames": "another"}, "frames"),
        ({"made_with": [{**MADE[0], "opencv": "6"}]}, "versions"),
        ({"rows": (replace(ROWS[0], backend="numba"), ROWS[1])}, "backends"),
        ({"rows": (replace(ROWS[0], pairs=5), ROWS[1])}, "videos"),
        ({"rows": (ROWS[0], replace(ROWS[1], reason=catalog.MISSING))}, "videos"),
    ],
)
def test_the_passport_changes_with_what_decides_the_flow(changed, part):
    base = {"rows": ROWS, "config": CONFIG, "frames": "frames", "made_with": MADE}

    def passport(values):
        return passport_of(values["rows"], values["config"], frames=values["frames"], made_with=values["made_with"])

    one, other = passport(base), passport({**base, **changed})
    assert one.digest != other.digest
    assert [name for name in one.parts if one.parts[name] != other.parts[name]] == [part]


def test_the_passport_does_not_change_with_what_does_not():
    one = passport_of(ROWS, CONFIG, frames="f", made_with=MADE)
    moved = (replace(ROWS[0], shard="shards/00009-y.arrow", row=5, sha256="22"), ROWS[1])
    assert passport_of(moved[::-1], CONFIG, frames="f", made_with=[{**MADE[0], "pyarrow": "26"}]) == one


def test_of_imported_flow_the_bytes_count():
    imported = FlowConfig(tvl1=None, codec=FlowCodec(format="found"))
    one = passport_of(ROWS, imported, frames="f", made_with=MADE)
    other = passport_of((replace(ROWS[0], sha256="22"), ROWS[1]), imported, frames="f", made_with=MADE)
    assert [name for name in one.parts if one.parts[name] != other.parts[name]] == ["content"]


def test_differences_name_the_values(made, prepared, quick, tmp_path):
    other = FlowConfig(tvl1=replace(quick.tvl1, epsilon=0.05), bound=15.0, codec=FlowCodec(format="png"))
    run(prepared, str(tmp_path / "other"), other)
    one, two = FlowDataset.open(made), FlowDataset.open(str(tmp_path / "other"))
    assert differences(one, one) == ()
    assert differences(one, two) == (
        "bound differs: 20.0 -> 15.0",
        "codec differs: format jpeg -> png",
        "tvl1 differs: epsilon 0.01 -> 0.05",
    )


def test_differences_of_frames_and_videos(made, make_prepared, quick, tmp_path):
    frames = PreparedDataset.open(str(make_prepared(tmp_path, [6, 4, 8])))
    run(frames, str(tmp_path / "flow"), quick)
    one, two = FlowDataset.open(made), FlowDataset.open(str(tmp_path / "flow"))
    lines = differences(one, two)
    assert lines[0].startswith("frames differs: ")
    assert "; ids differs; " in lines[0]
    assert lines[1] == "videos differs in 5 videos, such as class0/v2, class0/v4, class0/v6"


def test_it_lies_beside_the_frames_and_is_found_there(own_root, quick):
    prepared = PreparedDataset.open(str(own_root))
    with pytest.raises(UserError, match=r"No flow set lies beside .*run jobs/extract_flow\.py"):
        find(prepared)
    root = default_root(prepared, quick)
    assert root.startswith(str(own_root / "flow") + "/")
    assert root != default_root(prepared, FlowConfig(tvl1=quick.tvl1, bound=15.0))
    run(prepared, root, quick)
    assert find(prepared).root == root == find(prepared, root).root
    other = FlowConfig(tvl1=quick.tvl1, bound=15.0)
    (own_root / "flow" / "unfinished").mkdir()
    run(prepared, default_root(prepared, other), other)
    with pytest.raises(UserError, match=r"Several flow sets lie beside .*name one"):
        find(prepared)


def test_flow_of_other_frames_is_refused(made, make_prepared, tmp_path):
    other = PreparedDataset.open(str(make_prepared(tmp_path, [6, 4])))
    with pytest.raises(UserError, match=r"is not that of the frames in .*ids differs"):
        find(other, made)


def test_what_cannot_be_opened_says_why(made, tmp_path):
    with pytest.raises(UserError, match=r"There is no flow set\. Received: .*run jobs/extract_flow\.py"):
        FlowDataset.open(str(tmp_path))
    flow = FlowDataset.open(made)
    with pytest.raises(UserError, match=r"There is no flow of a video \(not in the catalog\)\. Received: nobody"):
        flow.read("nobody")
    manifest = dict(flow.manifest)
    for text, words in (
        ("{", "is damaged"),
        (json.dumps({**manifest, "format": 99}), r"Received: format 99\. Allowed: format 1"),
        (json.dumps({**manifest, "catalog_sha256": "0"}), "do not belong together"),
    ):
        (tmp_path / "manifest.json").write_text(text)
        (tmp_path / "catalog.parquet").write_bytes(to_parquet(flow.rows))
        with pytest.raises(UserError, match=words):
            FlowDataset.open(str(tmp_path))


@pytest.mark.parametrize("wrong", [{"bound": 0.0}, {"bound": -1.0}, {"size": (340, 15)}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError, match="The flow is impossible"):
        FlowConfig(**wrong)
    with pytest.raises(UserError, match="JPEG quality"):
        FlowCodec(quality=0)
