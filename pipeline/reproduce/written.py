"""From a desk to what a person reads: what was measured, the document with its pictures."""

from pathlib import Path

from pipeline.core import storage
from pipeline.reproduce import beyond
from pipeline.reproduce.catalogue import Chosen
from pipeline.reproduce.claims import claims_of_papers
from pipeline.reproduce.collect import fill
from pipeline.reproduce.document import Report, claim_text, document, table_text
from pipeline.reproduce.judge import judge
from pipeline.reproduce.plan import Desk


def report_of(desk: Desk, chosen: Chosen, command: str) -> Report:
    """Return what has been measured of some tables, and of the claims that they can bear on."""
    filled = [fill(desk, chosen.tables[bound.key], bound) for bound in chosen.bounds]
    is_beyond = any(bound.key in beyond.TABLES for bound in chosen.bounds)
    asked = (*claims_of_papers(desk.world), *(beyond.claims_beyond(desk.world) if is_beyond else ()))
    claims = [(claim, judge(desk, claim)) for claim in asked]
    pictures = {file: "" for one in filled for file in one.pictures.values()}
    return Report(
        desk=desk,
        tables=filled,
        claims=claims,
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
