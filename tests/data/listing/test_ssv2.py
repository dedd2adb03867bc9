"""Something-Something V2: official counts and ids, the frame list as a stand-in, and every mistake named."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing
from pipeline.data.records import HIDDEN_LABEL

OFFICIAL = Path(__file__).parents[3].parent / "shared" / "metadata" / "ssv2"
LABELS = {"Moving something up": "1", "Holding something": "0", "Pulling something from left to right": "2"}


def entry(id_: str, template: str) -> dict[str, object]:
    return {"id": id_, "label": "moving cup up", "template": template, "placeholders": ["cup"]}


def write(folder: Path, prefix: str = "something-something-v2-", **parts: object) -> Path:
    files: dict[str, object] = {
        "labels": LABELS,
        "train": [entry("10", "Moving [something] up"), entry("007", "Holding [something]")],
        "validation": [entry("3", "Pulling [something] from left to right")],
        "test": [{"id": "99"}],
    }
    for part, content in (files | parts).items():
        if content is not None:
            (folder / f"{prefix}{part}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.mark.skipif(not OFFICIAL.exists(), reason="needs the official files in ../shared/metadata/ssv2")
def test_official_counts_classes_and_labels():
    listing = load_listing("ssv2", "/nowhere", metadata=str(OFFICIAL))
    assert Counter(r.split[0] for r in listing.records) == {"train": 168_913, "validation": 24_777, "test": 27_157}
    assert len(listing.classes) == 174
    assert listing.classes[0] == "Approaching something with your camera"
    assert listing.classes[86] == "Pulling something from left to right"
    assert listing.classes[173] == "Wiping something off of something"
    # Oracle: the validation list that TSM's users share, parsed here independently of the JSON.
    numbers = dict(line.split()[::2] for line in (OFFICIAL / "val_videofolder.txt").read_text().splitlines())
    assert {r.id: str(r.label) for r in listing.records if r.split == ("validation",)} == numbers
    assert {r.label for r in listing.records if r.split == ("test",)} == {HIDDEN_LABEL}


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_json_files_of_either_naming(tmp_path, prefix):
    listing = load_listing("ssv2", str(write(tmp_path, prefix)))
    assert listing.classes == ("Holding something", "Moving something up", "Pulling something from left to right")
    assert [(r.id, r.path, r.label, r.split) for r in listing.records] == [
        ("10", "10.webm", 1, ("train",)),
        ("007", "007.webm", 0, ("train",)),
        ("3", "3.webm", 2, ("validation",)),
        ("99", "99.webm", HIDDEN_LABEL, ("test",)),
    ]


def test_publishers_folders_are_found(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "20bn-something-something-v2").mkdir()
    write(tmp_path / "labels", "")
    assert load_listing("ssv2", str(tmp_path)).root == str(tmp_path / "20bn-something-something-v2")


def test_frame_list_stands_in_only_for_an_absent_train_json(tmp_path):
    (tmp_path / "train_videofolder.txt").write_text("5 45 2\n6 8 0\n")
    assert "5" not in {r.id for r in load_listing("ssv2", str(write(tmp_path))).records}
    (tmp_path / "something-something-v2-train.json").unlink()
    train = [(r.id, r.label) for r in load_listing("ssv2", str(tmp_path)).records if r.split == ("train",)]
    assert train == [("5", 2), ("6", 0)]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"validation": None}, "validation part .* not found"),
        ({"labels": None}, "class names .* not found"),
        ({"labels": {"Holding something": "1"}}, "does not number the classes"),
        ({"labels": ["Holding something"]}, "does not number the classes"),
        ({"train": [entry("1", "Eating [something]")]}, r"Entry 0 .*Eating something"),
        (
            {"train": [entry("1", "Holding [something]"), entry("1", "Holding [something]")]},
            "listed twice.*Received: 1",
        ),
        ({"train": [entry("3", "Holding [something]")]}, "listed twice.*Received: 3"),
        ({"train": [{"template": "Holding [something]"}]}, 'an object with an "id"'),
        ({"train": [{"id": "4"}]}, 'an object with "id" and "template"'),
        ({"train": '[\n{"id": "1",}\n]'}, "Line 2 of .*train.json"),
    ],
)
def test_mistakes_are_named(tmp_path, parts, message):
    with pytest.raises(UserError, match=message):
        load_listing("ssv2", str(write(tmp_path, **parts)))


@pytest.mark.parametrize("line", ["5 45", "5 45 3", "5 x 1", "5 45 -1"])
def test_malformed_frame_list_lines_are_named(tmp_path, line):
    write(tmp_path, train=None)
    (tmp_path / "train_videofolder.txt").write_text(f"6 45 0\n{line}\n")
    with pytest.raises(UserError, match=r"Line 2 of .*train_videofolder.txt"):
        load_listing("ssv2", str(tmp_path))
