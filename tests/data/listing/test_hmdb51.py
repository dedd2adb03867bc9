"""HMDB-51: official counts in every split, odd names, and which class order was used."""

from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.listing.hmdb51 import class_order
from pipeline.data.listing.sources import load_listing

OFFICIAL = Path(__file__).parents[3].parent / "shared" / "metadata" / "hmdb51"
ODD = "A;b#_&[x](y)!_kick_u_nm_np1_ba_goo_0.avi"


def write(folder: Path, **parts: str) -> str:
    files = {f"{text}_test_split{n}": f"{text}.avi 1 \n" for text in ("kick", "kick_ball") for n in "123"}
    files |= {"kick_test_split1": f"{ODD} 1 \nother name.avi 0 \n", "kick_test_split2": f"{ODD} 2 \n"}
    for name, text in (files | parts).items():
        (folder / f"{name}.txt").write_text(text)
    return str(folder)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="needs the official files in ../shared/metadata/hmdb51")
def test_official_counts_and_classes():
    listing = load_listing("hmdb51", "/nowhere", metadata=str(OFFICIAL))
    assert len(listing.records) == 6766
    assert len(listing.classes) == 51
    for fold in range(3):
        assert Counter(r.split[fold] for r in listing.records) == {"train": 3570, "test": 1530, "unused": 1666}
        per_class = Counter(r.label for r in listing.records if r.split[fold] == "train")
        assert set(per_class.values()) == {70}
    # Oracle: the class list, read here without the parser; it exchanges kick and kick_ball against the sorted order.
    names = [line.strip() for line in (OFFICIAL / "class_list.txt").read_text().splitlines() if line.strip()]
    assert list(listing.classes) == names != sorted(names)
    assert all(r.path.startswith(f"{names[r.label]}/") for r in listing.records)


def test_odd_names_flags_and_memberships(tmp_path):
    listing = load_listing("hmdb51", write(tmp_path))
    rows = {r.path: (r.label, r.split) for r in listing.records}
    assert rows == {
        f"kick/{ODD}": (0, ("train", "test", "unused")),
        "kick/other name.avi": (0, ("unused", "unused", "unused")),
        "kick/kick.avi": (0, ("unused", "unused", "train")),
        "kick_ball/kick_ball.avi": (1, ("train", "train", "train")),
    }
    assert f"kick/{ODD[:-4]}" in {r.id for r in listing.records}


def test_the_order_used_is_stated(tmp_path, caplog):
    folder = write(tmp_path)
    assert class_order(folder) == (["kick", "kick_ball"], "sorted split files")
    (tmp_path / "class_list.txt").write_text("kick_ball  \nkick\n")
    assert class_order(folder) == (["kick_ball", "kick"], "class_list.txt")
    with caplog.at_level("INFO"):
        listing = load_listing("hmdb51", folder)
    assert listing.classes == ("kick_ball", "kick")
    assert "class ids follow class_list.txt" in caplog.text


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"kick_test_split3": f"{ODD} 3 \n"}, "Line 1 of .*kick_test_split3.txt"),
        ({"kick_test_split3": "x.avi\n"}, "Line 1 of .*kick_test_split3.txt"),
        ({"kick_test_split3": f"{ODD} 1 \n{ODD} 2 \n"}, "Line 2 of .*kick_test_split3.txt"),
        ({"run_test_split1": "r.avi 1 \n"}, r"not complete.*\['run'\]"),
        ({"class_list": "kick\nwalk\n"}, "different classes.*'kick_ball', 'walk'"),
    ],
)
def test_mistakes_are_named(tmp_path, parts, message):
    with pytest.raises(UserError, match=message):
        load_listing("hmdb51", write(tmp_path, **parts))


def test_a_folder_without_split_files_is_refused(tmp_path):
    with pytest.raises(UserError, match="not complete"):
        load_listing("hmdb51", str(tmp_path))
