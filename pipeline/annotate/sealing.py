"""From settled items to a sealed batch, killable at any point.

One transaction decides what the batch holds and is the moment of sealing; the files follow and can be written again
from the store as often as it takes. A killed seal has therefore either not happened, or is finished by the next one
with the same bytes under the same name; an item is in one batch at most because the table's key says so.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate import audit
from pipeline.annotate.batches import BatchRow, batch_id, write_batch
from pipeline.annotate.database import Database
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.rules import SOURCES, merge
from pipeline.annotate.tables import batch_items, batches, campaigns, comparisons, flags, items, submissions, tasks


def seal(database: Database, campaign: str, root: str, actor: str = "system") -> dict[str, Any] | None:
    """Seal everything that is resolved and in no batch yet, after finishing what a killed seal left.

    Args:
        database: the store.
        campaign: id.
        root: folder of the batches, a path or URI.
        actor: who seals.

    Returns:
        The new batch's manifest; without anything to seal that of a seal finished now; None when there was neither.

    Raises:
        RefusedError: not_found, no such campaign.
    """
    finished = publish(database, campaign, root)
    with database.write() as connection:
        facts = connection.scalar(sa.select(campaigns.c.facts).where(campaigns.c.id == campaign))
        if facts is None:
            raise RefusedError("not_found", "there is no such campaign")
        ready = (items.c.campaign == campaign) & (items.c.kind == "work") & (items.c.state == "resolved")
        found = connection.execute(sa.select(items).where(ready).order_by(items.c.uid).with_for_update()).all()
        if found:
            _decide(connection, database.clock(), actor, campaign, facts, found)
    finished += publish(database, campaign, root)
    return finished[-1] if finished else None


def _decide(
    connection: Connection, now: float, actor: str, campaign: str, facts: dict[str, Any], found: Sequence[Any]
) -> None:
    name = batch_id([_row(connection, facts, item) for item in found])
    before = connection.scalar(sa.select(sa.func.max(batches.c.sequence)).where(batches.c.campaign == campaign))
    row = {"id": name, "campaign": campaign, "sequence": (before or 0) + 1, "items": len(found), "sealed": now}
    connection.execute(batches.insert().values(**row))
    connection.execute(batch_items.insert(), [{"item": item.uid, "batch": name} for item in found])
    uids = [item.uid for item in found]
    connection.execute(sa.update(items).where(items.c.uid.in_(uids)).values(state="sealed"))
    audit.append(connection, now, actor, "seal", name, {"items": len(found), "sequence": row["sequence"]})


def publish(database: Database, campaign: str, root: str) -> list[dict[str, Any]]:
    """Write the files of every sealed batch that has none yet; returns their manifests."""
    with database.read() as connection:
        pending = (batches.c.campaign == campaign) & batches.c.manifest.is_(None)
        rows = connection.execute(sa.select(batches).where(pending).order_by(batches.c.sequence)).all()
    return [_publish(database, batch, root) for batch in rows]


def _publish(database: Database, batch: Any, root: str) -> dict[str, Any]:
    with database.read() as connection:
        campaign = connection.execute(sa.select(campaigns).where(campaigns.c.id == batch.campaign)).one()
        joined = sa.select(items).join(batch_items, batch_items.c.item == items.c.uid)
        found = connection.execute(joined.where(batch_items.c.batch == batch.id).order_by(items.c.uid)).all()
        rows = [_row(connection, campaign.facts, item) for item in found]
        agreement = _agreement(connection, [item.uid for item in found])
        flagged = _flagged(connection, batch, [item.uid for item in found])
    assert batch_id(rows) == batch.id, "answers are append-only, so a batch stays what it was when it was sealed"
    facts = {
        "campaign": campaign.id,
        "campaign_checksum": campaign.checksum,
        "sequence": batch.sequence,
        "sealed": batch.sealed,
        **{name: campaign.facts[name] for name in ("dataset", "passport", "model", "rule", "leak", "settings")},
        "decisions": dict(sorted(Counter(row.decision for row in rows).items())),
        "agreement": agreement,
        "flagged": flagged,
    }
    manifest = write_batch(root, rows, facts)
    with database.write() as connection:
        connection.execute(sa.update(batches).where(batches.c.id == batch.id).values(manifest=manifest))
    return manifest


def _agreement(connection: Connection, uids: Sequence[str]) -> dict[str, Any]:
    rows = connection.execute(sa.select(comparisons).where(comparisons.c.item.in_(uids))).all()
    kappas = sorted(row.kappa for row in rows if row.kappa is not None)
    return {
        "double": len(rows),
        "agreed": sum(row.agreed for row in rows),
        "mean_kappa": float(np.mean(kappas)) if kappas else None,
        "mean_distance": float(np.mean(sorted(row.distance for row in rows))) if rows else None,
    }


def _flagged(connection: Connection, batch: Any, uids: Sequence[str]) -> int:
    """Return how many clips people would not judge since the batch before, and that are not in this one after all."""
    of_campaign = batches.c.campaign == batch.campaign
    before = sa.select(sa.func.max(batches.c.sealed)).where(of_campaign & (batches.c.sequence < batch.sequence))
    since = (flags.c.at > (connection.scalar(before) or 0.0)) & (flags.c.at <= batch.sealed)
    raised = sa.select(flags.c.item).join(items, items.c.uid == flags.c.item)
    of_work = (items.c.campaign == batch.campaign) & (items.c.kind == "work")
    return len(set(connection.scalars(raised.where(since & of_work))) - set(uids))


def _row(connection: Connection, facts: dict[str, Any], item: Any) -> BatchRow:
    """Return what a settled item says, from its valid answers: the adjudicator's, both in the median, or the one."""
    asked = (
        sa.select(submissions)
        .join(tasks, tasks.c.id == submissions.c.task)
        .where((submissions.c.item == item.uid) & (tasks.c.state == "done"))
        .order_by(submissions.c.task)
    )
    answers = connection.execute(asked).all()
    chosen = answers[-1:] if item.decision == "adjudicated" else answers
    scores, sources = merge([row.answer for row in chosen])
    kappa = connection.scalar(sa.select(comparisons.c.kappa).where(comparisons.c.item == item.uid))
    inits = {row.answer["init"] for row in answers if row.purpose != "adjudicate"}
    frames, maps = _spatial([row.answer["spatial"] for row in chosen])
    return BatchRow(
        video_id=item.video,
        dataset=facts["dataset"],
        label=item.label,
        num_frames=item.num_frames,
        fps=item.fps,
        scores=tuple(scores),
        source=tuple(SOURCES.index(source) for source in sources),
        init=inits.pop() if len(inits) == 1 else "mixed",
        annotators=tuple(row.user for row in answers),
        n_annotators=len(answers),
        kappa=kappa,
        decision=item.decision,
        model_version_shown=facts["model"],
        editor_version=answers[-1].answer["editor"],
        submitted_at=max(row.submitted for row in answers),
        seconds_spent=sum(row.seconds for row in answers),
        spatial_frames=frames,
        spatial_maps=maps,
        split=item.split,
    )


def _spatial(marked: Sequence[Sequence[Any]]) -> tuple[tuple[int, ...], tuple[tuple[float, ...], ...]]:
    """Return the median map of every frame, over the people who marked it."""
    cells: dict[int, list[Any]] = {}
    for maps in marked:
        for one in maps:
            cells.setdefault(one["frame"], []).append(one["cells"])
    frames = tuple(sorted(cells))
    return frames, tuple(tuple(np.median(cells[frame], axis=0).tolist()) for frame in frames)
