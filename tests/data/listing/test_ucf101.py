"""UCF-101: official counts, class numbers from classInd.txt, the class that is spelled in two ways."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.sources import load_listing

OFFICIAL = Path(__file__).parents[3].parent / "shared" / "metadata" / "ucf101"
BIKE, PUSH = "Biking/v_Biking_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c01.avi"


def write(folder: Path, **parts: str) -> str:
    files = {"classInd": "1 HandstandPushups\r\n2 Biking\r\n"}
    for fold in "123":
        files |= {f"trainlist0{fold}": f"{BIKE} 2\r\n", f"testlist0{fold}": f"{PUSH}\r\n"}
    for name, text in (files | parts).items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return str(folder)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="needs the official files in ../shared/metadata/ucf101")
def test_official_counts_and_classes():
    listing = load_listing("ucf101", "/nowhere", metadata=str(OFFICIAL))
    assert len(listing.records) == 13_320
    assert len(listing.classes) == 101
    for fold, (train, test) in enumerate([(9537, 3783), (9586, 3734), (9624, 3696)]):
        assert Counter(r.split[fold] for r in listing.records) == {"train": train, "test": test}
    # The official order is not the sorted one: classes 35 and 36 are exchanged, 47 and 48 too.
    numbers = dict(line.split()[::-1] for line in (OFFICIAL / "classInd.txt").read_text().split("\n") if line.strip())
    assert [int(numbers[text]) for text in listing.classes] == list(range(1, 102))
    assert list(listing.classes) != sorted(listing.classes)
    groups = {s: {r.id.split("_g")[-1][:2] for r in listing.records if r.split[0] == s} for s in ("train", "test")}
    assert not groups["train"] & groups["test"]


def test_membership_and_labels(tmp_path):
    extra = "Biking/v_Biking_g02_c01.avi"
    listing = load_listing("ucf101", write(tmp_path, testlist02=f"{PUSH}\r\n{extra}\r\n"))
    assert [(r.id, r.label, r.split) for r in listing.records] == [
        ("Biking/v_Biking_g01_c01", 1, ("train",) * 3),
        ("HandstandPushups/v_HandStandPushups_g01_c01", 0, ("test",) * 3),
        ("Biking/v_Biking_g02_c01", 1, ("unused", "test", "unused")),
    ]


@pytest.mark.parametrize("folder", ["HandstandPushups", "HandStandPushups"])
@pytest.mark.parametrize("stem", ["v_HandstandPushups_g01_c01", "v_HandStandPushups_g01_c01"])
def test_either_spelling_on_disk_is_found_and_the_id_stays(tmp_path, folder, stem):
    for path in (BIKE, f"{folder}/{stem}.avi"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch()
    listing = load_listing("ucf101", write(tmp_path))
    assert [r.path for r in listing.records] == [BIKE, f"{folder}/{stem}.avi"]
    assert listing.records[1].id == "HandstandPushups/v_HandStandPushups_g01_c01"
    assert [r.path for r in listing.records if not (Path(listing.root) / r.path).exists()] == []


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"trainlist01": f"{BIKE} 1\n"}, r"Line 1 of .*trainlist01.txt"),
        ({"trainlist02": f"{BIKE}\n"}, r"Line 1 of .*trainlist02.txt"),
        ({"testlist01": f"{PUSH}\nRowing/v_Rowing_g01_c01.avi\n"}, r"Line 2 of .*testlist01.txt"),
        ({"testlist03": f"{PUSH} 1\n"}, r"Line 1 of .*testlist03.txt.*a path alone"),
        ({"testlist03": f"{PUSH}\n{PUSH}\n"}, r"Line 2 of .*once in a list"),
        ({"testlist03": f"{BIKE}\n"}, "both the training and the test list of fold 3"),
        ({"classInd": "1 HandstandPushups\n3 Biking\n"}, "Line 2 of .*classInd.txt"),
    ],
)
def test_mistakes_are_named(tmp_path, parts, message):
    with pytest.raises(UserError, match=message):
        load_listing("ucf101", write(tmp_path, **parts))
