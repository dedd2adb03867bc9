"""From a campaign's folder to rows of the store: who annotates what twice, in which order, and what is held out."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate import audit
from pipeline.annotate.campaign import Campaign, CampaignItem, about, read_campaign
from pipeline.annotate.database import Database
from pipeline.annotate.rules import drawn, lowest, pseudonym
from pipeline.annotate.tables import campaigns, items, tasks
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.store.catalog import READABLE, CatalogRow
from pipeline.data.store.prepared import PreparedDataset


def item_uid(campaign: str, video: str) -> str:
    """Return the id under which people see a video in a campaign; it says nothing about either."""
    return pseudonym(campaign, video, prefix="i", letters=20)


def import_campaign(database: Database, uri: str) -> str:
    """Take a campaign's folder into the store; the same folder a second time changes nothing.

    Returns:
        The campaign's id.

    Raises:
        UserError: the folder is no campaign, its data set is not there or another one, or a campaign of this name with
            other content is in the store.
    """
    campaign, checksum = read_campaign(uri)
    with database.read() as connection:
        if _known(connection, campaign, checksum):
            return campaign.id
    catalog = _catalog_of(campaign)
    with database.write() as connection:
        if not _known(connection, campaign, checksum):
            now = database.clock()
            facts = about(campaign)
            row = {"id": campaign.id, "checksum": checksum, "created": now, "root": storage.absolute(campaign.root)}
            connection.execute(campaigns.insert().values(**row, facts=facts))
            _add_items(connection, campaign, catalog)
            detail = {"checksum": checksum, "items": len(campaign.items)}
            audit.append(connection, now, "system", "import", campaign.id, detail)
    return campaign.id


def _known(connection: Connection, campaign: Campaign, checksum: str) -> bool:
    found = connection.scalar(sa.select(campaigns.c.checksum).where(campaigns.c.id == campaign.id))
    if found not in (None, checksum):
        what = f"The store holds another campaign named {campaign.id}"
        fix = "give the new campaign a name of its own"
        raise UserError(problem(what, got=f"checksum {checksum}", allowed=f"checksum {found}", fix=fix))
    return found is not None


def _catalog_of(campaign: Campaign) -> Mapping[str, CatalogRow]:
    """Return the campaign's videos in its prepared data set, checked to be the ones that it was made from."""
    dataset = PreparedDataset.open(campaign.root)
    if dataset.passport != campaign.passport:
        what = f"The data set at {campaign.root} is not the one that campaign {campaign.name} was made from"
        fix = "prepare that data set again, or mine a new campaign"
        got, allowed = f"passport {dataset.passport}", f"passport {campaign.passport}"
        raise UserError(problem(what, got=got, allowed=allowed, fix=fix))
    rows = {row.id: row for row in dataset.rows if row.status == READABLE}
    wrong = [i.video for i in campaign.items if i.video not in rows or rows[i.video].frames != i.num_frames]
    if wrong:
        what = f"{len(wrong)} videos of campaign {campaign.name} are not in its data set, or of another length"
        got, allowed = ", ".join(wrong[:3]), "readable videos with the same number of frames"
        raise UserError(problem(what, got=got, allowed=allowed, fix="mine a new campaign"))
    return rows


def _add_items(connection: Connection, campaign: Campaign, catalog: Mapping[str, CatalogRow]) -> None:
    work = [item.video for item in campaign.items if item.kind == "work"]
    double = lowest(work, campaign.settings.double_share, f"double {campaign.id}")
    turns: dict[tuple[int, str], int] = defaultdict(int)
    item_rows: list[dict[str, Any]] = []
    task_rows: list[dict[str, Any]] = []
    for item in sorted(campaign.items, key=lambda item: (-item.priority, drawn(item.video))):
        turn = turns[item.label, item.kind]
        turns[item.label, item.kind] += 1
        row = _item_row(campaign, item, catalog[item.video], turn)
        item_rows.append({**row, "double": item.video in double})
        if item.kind == "work":
            task_rows += [task_row(row, values) for values in _tasks_of(campaign, item, item.video in double)]
    if item_rows:
        connection.execute(items.insert(), item_rows)
    if task_rows:
        connection.execute(tasks.insert(), task_rows)


def _item_row(campaign: Campaign, item: CampaignItem, prepared: CatalogRow, turn: int) -> dict[str, Any]:
    held_out = drawn("heldout", item.video) < campaign.settings.heldout_share
    pictures = f"{campaign.passport} {prepared.sha256} {prepared.frames} {prepared.width} {prepared.height}"
    spatial = None if item.spatial_VP is None else item.spatial_VP.round(4).tolist()
    return {
        "uid": item_uid(campaign.id, item.video),
        "campaign": campaign.id,
        "video": item.video,
        "label": item.label,
        "kind": item.kind,
        "split": "heldout_edit" if held_out else "train",
        "state": "open",
        "num_frames": item.num_frames,
        "fps": prepared.fps,
        "width": prepared.width,
        "height": prepared.height,
        "content": hashlib.sha256(pictures.encode()).hexdigest()[:32],
        "turn": turn,
        "priority": item.priority,
        "facts": {
            "predicted": item.predicted,
            "top5": list(item.top5),
            "top5_scores": list(item.top5_scores),
            "true_score": item.true_score,
            "true_rank": item.true_rank,
            "margin": item.margin,
            "attention": item.attention_V.tolist(),
            "window": list(item.window),
            "windows": [list(window) for window in item.windows],
            "spatial": spatial if campaign.settings.spatial else None,
        },
        "truth": None if item.truth_V is None else item.truth_V.tolist(),
        "decision": "",
        "reviewed": False,
        "note": item.caption,
    }


def _tasks_of(campaign: Campaign, item: CampaignItem, double: bool) -> list[dict[str, Any]]:
    """Return the tasks of a clip; of two opinions one starts from the model and one blank, to see what that does."""
    if not double:
        return [{"purpose": "first", "init": campaign.settings.init, "init_fixed": False}]
    inits = ["blank", "model"] if drawn("init", campaign.id, item.video) < 0.5 else ["model", "blank"]
    return [
        {"purpose": "first", "init": inits[0], "init_fixed": True},
        {"purpose": "second", "init": inits[1], "init_fixed": True, "state": "waiting"},
    ]


def task_row(item: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `tasks` for an item, free to be claimed unless `values` say otherwise."""
    shared = {"item": item["uid"], **{name: item[name] for name in ("campaign", "label", "turn", "priority")}}
    return {**shared, "state": "open", "fence": 0, "expires": 0.0, **values}
