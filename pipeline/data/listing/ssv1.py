"""Something-Something V1: `;`-separated CSV files and one folder of numbered JPEG frames a video.

Frames are `<id>/00001.jpg` and on, 12 a second, 100 pixels high. Class indices are the positions in the *sorted* list
of class texts, which is the numbering of TSM's and mmaction2's published models.
"""

from pipeline.core import storage
from pipeline.data.listing.official import checked_listing, find_folder, malformed, read_lines, require_file
from pipeline.data.records import HIDDEN_LABEL, Listing, VideoRecord

PREFIX = "something-something-v1-"
FRAME_FOLDERS = ("20bn-something-something-v1", "frames")
METADATA_FOLDERS = ("labels",)


def load(root: str, metadata: str | None) -> Listing:
    """List the data set; `metadata` or `root` holds the CSV files. Paths are frame folders.

    Raises:
        UserError: a file is absent, a line malformed, a class unknown, an id listed twice.
    """
    home = metadata or root
    folders = [home, *(storage.join(home, name) for name in METADATA_FOLDERS)]
    frames = find_folder(root, FRAME_FOLDERS)

    uri = require_file(folders, _names("labels"), "the class names of Something-Something V1")
    classes = sorted(line for _, line in read_lines(uri))
    index = {text: label for label, text in enumerate(classes)}

    records = []
    for split in ("train", "validation"):
        uri = require_file(folders, _names(split), f"the {split} part of Something-Something V1")
        for number, line in read_lines(uri):
            id_, separator, text = line.partition(";")
            if not (id_ and separator) or text not in index:
                raise malformed(uri, number, line, "'id;class' with a class of the labels file")
            records.append(VideoRecord(id=id_, path=id_, label=index[text], split=(split,)))
    uri = require_file(folders, _names("test"), "the test part of Something-Something V1")
    for number, line in read_lines(uri):
        if ";" in line:
            raise malformed(uri, number, line, "an id alone; the labels of the test part are not published")
        records.append(VideoRecord(id=line, path=line, label=HIDDEN_LABEL, split=("test",)))
    return checked_listing("ssv1", frames, classes, records)


def _names(part: str) -> list[str]:
    return [f"{PREFIX}{part}.csv", f"{part}.csv"]
