"""Published checkpoints that are at hand: the authors' networks, tested before anything is trained; first weights.

No paper has a row for the authors' networks: they come from their second implementation, which says that its accuracies
differ from the papers'. So they have a table of their own, in S0's pipeline: they see consecutive frames.
torchvision has no network of any of the tables' data sets; its ImageNet weights are where training starts.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.reproduce.cells import Bound, Cell, Picked
from pipeline.reproduce.papers import TOP, Row, Table
from pipeline.reproduce.plan import matches
from pipeline.reproduce.world import World

KEY = "authors-checkpoints"
AUTHORS, TORCHVISION = "*.pt", "*.pth"
FIRST = MappingProxyType(
    {
        "resnet50": "resnet50-0676ba61.pth",
        "resnet101": "resnet101-63fe2227.pth",
        "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    }
)
"""Torchvision's files of its IMAGENET1K_V1 weights; a name ends with the beginning of the file's SHA-256.

Without a file the same weights are downloaded, so a file changes no key of a cell; nor does it change a run, which
knows them by that name (`train.runs`).
"""
FROM = "https://download.pytorch.org/models/"


def authors_in(folder: str) -> list[str]:
    """Return the authors' checkpoints in a folder, path or URI."""
    return matches(folder, AUTHORS) if folder else []


def weights_in(folder: str) -> dict[str, str]:
    """Return torchvision's weights by network: in a folder, else where they are downloaded.

    Others beside them (V2's) are not looked at.

    Raises:
        UserError: files of a network, and none of them holds the weights that training starts from.
    """
    files = matches(folder, TORCHVISION) if folder else []
    found = {name: FROM + file for name, file in FIRST.items()}
    for name, file in FIRST.items():
        digest = PurePosixPath(file).stem.rpartition("-")[2]
        named = [one for one in files if PurePosixPath(one).name.startswith(name)]
        ours = [one for one in named if PurePosixPath(one).name == file]
        if ours and storage.sha256_file(ours[0]).startswith(digest):
            found[name] = ours[0]
        elif named:
            got = ", ".join(PurePosixPath(one).name for one in named)
            allowed = f"torchvision's {file}, whose SHA-256 begins with {digest}"
            fix = f"put {FROM}{file} there, or leave --checkpoints away to have it downloaded"
            raise UserError(problem(f"No file of {name} holds its first weights", got=got, allowed=allowed, fix=fix))
    return found


def cells_published(world: World, files: Sequence[str]) -> dict[str, Cell]:
    """Return the cells of the authors' checkpoints: imported, then tested."""
    found = []
    for file in files:
        name = _name(file)
        made = Cell(
            name=name,
            kind="import",
            title=f"take {PurePosixPath(file).name} in",
            lane="s0",
            data="ssv2",
            needs=("ssv2",),
            options=(file, storage.sha256_file(file)),
            results=("state.pt",),
        )
        found.append(made)
        for way, protocol in _ways(world).items():
            tested = Cell(
                name=f"{name}-{way}",
                kind="test",
                title=f"test {name}, {protocol}",
                lane="s0",
                data="ssv2",
                needs=(name, "ssv2"),
                options=("--protocol", protocol),
                results=("metrics.json", "predictions.parquet"),
            )
            found.append(tested)
    return {cell.name: cell for cell in found}


def _name(file: str) -> str:
    return f"authors-{PurePosixPath(file).stem}"


def _ways(world: World) -> Mapping[str, str]:
    return {"one": world.one_clip, "two": world.two_clips}


def table_published(world: World, files: Sequence[str]) -> tuple[Table, Bound]:
    """Return the authors' checkpoints as a table, and what stands for it."""
    rows = {f"{PurePosixPath(f).name}, {protocol}": (f, way) for f in files for way, protocol in _ways(world).items()}
    table = Table(
        key=KEY,
        title="Something-Something V2: the authors' checkpoints",
        source="no row of a paper: networks of the authors' second implementation",
        pipeline="S0",
        columns=TOP,
        rows=tuple(Row(name) for name in rows),
        notes=("Which videos they were trained on is not known.",),
    )
    sources = {
        name: {column: Picked(f"{_name(file)}-{way}", top=top) for column, top in zip(TOP, (1, 5), strict=True)}
        for name, (file, way) in rows.items()
    }
    return table, Bound(key=KEY, rows=sources, standing=dict.fromkeys(rows, "as published"), pictures={})
