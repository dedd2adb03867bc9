"""The plan by which a demo's folder was begun: as long as it is the same, what lies there is gone on with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.core import storage

PLAN, OWN = "plan.json", "its own"


def plan_of(steps: Sequence[object], loop: Path, recipe: str) -> dict[str, Any]:
    """Return what decides a demo's result, as JSON; "base" is the network and edits that an empty folder starts from.

    Args:
        steps: settings of the demo.
        loop: folder of the loop's demo, whose network and edits are taken where they are there.
        recipe: of that network, and the name of its run.
    """
    base, record = OWN, loop / "runs" / recipe / "run.json"
    if record.exists() and (batches := sorted((loop / "batches").glob("*/manifest.json"))):
        base = f"{batches[0].parent.name} {storage.read_json(str(record))['key']}"  # random: another one if made anew
    return {"steps": [str(step) for step in steps], "base": base}


def plan_to_go_on(out: Path, plan: dict[str, Any]) -> dict[str, Any] | None:
    """Return the plan by which a folder was begun, if it can be gone on with; None: there is none, or it is another.

    What the folder has made of its own serves on, though the loop's demo has come to be there since.

    Args:
        out: the folder.
        plan: of now.
    """
    try:
        old: dict[str, Any] = storage.read_json(str(out / PLAN))
    except FileNotFoundError:
        return None
    return old if old in (plan, plan | {"base": OWN}) else None
