"""From a desk to what a person reads: what rows need, what was measured, the document with its pictures."""

from pathlib import Path

from pipeline.core import storage
from pipeline.reproduce import beyond
from pipeline.reproduce.catalogue import Chosen
from pipeline.reproduce.cells import cells_of, closure
from pipeline.reproduce.claims import claims_of_papers, judge
from pipeline.reproduce.collect import fill
from pipeline.reproduce.document import Report, claim_text, document, table_text
from pipeline.reproduce.machine import hardware, software
from pipeline.reproduce.needs import data_lines, needs_of
from pipeline.reproduce.plan import Desk
from pipeline.reproduce.world import DATA


def needs_text(desk: Desk, chosen: Chosen, tflops: float) -> str:
    """Return what every row of some tables still needs."""
    told = [f"On {desk.world.label}."]
    for bound in chosen.bounds:
        table = chosen.tables[bound.key]
        told.append(f"\n{bound.key}: {table.title}")
        for row, sources in bound.rows.items():
            cells = tuple(dict.fromkeys(name for source in sources.values() for name in cells_of(source)))
            told += _row(desk, f"{row} ({bound.standing[row]})", cells, tflops)
        if bound.pictures:
            told += _row(desk, "pictures", tuple(cell for cell, _ in bound.pictures.values()), tflops)
        if table.cited:
            told.append(f"  {len(table.cited)} rows that the paper cites from others: nothing to run")
    absent = [name for name in DATA if not desk.world.is_synth and not desk.passport(name)]
    asked = {cell.data for bound in chosen.bounds for cell in closure(desk.cells, bound.cells())}
    told += ["", *(line for name in absent if name in asked for line in data_lines(name))]
    return "\n".join(told)


def _row(desk: Desk, name: str, cells: tuple[str, ...], tflops: float) -> list[str]:
    needs = needs_of(desk, cells, tflops)
    return [f"  {name}: {'needs' if needs else 'done'}", *(f"    {line}" for line in needs)]


def report_of(desk: Desk, chosen: Chosen, command: str) -> Report:
    """Return what has been measured of some tables, and of the claims that they can bear on."""
    filled = [fill(desk, chosen.tables[bound.key], bound) for bound in chosen.bounds]
    is_beyond = any(bound.key in beyond.TABLES for bound in chosen.bounds)
    asked = (*claims_of_papers(), *(beyond.claims_beyond() if is_beyond else ()))
    claims = [(claim, judge(desk, claim)) for claim in asked]
    pictures = {file: "" for one in filled for file in one.pictures.values()}
    return Report(
        desk=desk,
        tables=filled,
        claims=claims,
        hardware=hardware(),
        software=software(),
        command=command,
        pictures=pictures,
    )


def screen(report: Report) -> str:
    """Return tables, pictures and claims for a screen."""
    told = [table_text(filled, report.desk.world) for filled in report.tables]
    told += [f"picture  {file}" for file in report.pictures]
    told += [claim_text(claim, judged) for claim, judged in report.claims if judged]
    return "\n\n".join(told)


def write(report: Report, path: Path) -> Path:
    """Write the document, and beside it the pictures that it shows; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside: dict[str, str] = {}
    for filled in report.tables:
        for name, file in filled.pictures.items():
            beside[file] = f"{path.stem}-{filled.table.key}-{name}.png"
            storage.publish_bytes(str(path.parent / beside[file]), storage.read_bytes(file))
    shown = Report(**{**vars(report), "pictures": beside})
    storage.publish_bytes(str(path), document(shown).encode())
    return path
