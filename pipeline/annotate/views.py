"""What people see of the store: an item, the campaigns, how far everything is. Nothing here changes anything."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate.answers import draft_of, opinions_of
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.people import Person
from pipeline.annotate.queue import lease_for
from pipeline.annotate.schema import Campaign, ClassCount, ClassText, Init, PersonCount, Progress, Purpose, State
from pipeline.annotate.schema_admin import Items, ListedItem
from pipeline.annotate.schema_items import Draft, Example, Item, Prediction, Window
from pipeline.annotate.tables import (
    batch_items,
    campaigns,
    comparisons,
    drafts,
    flags,
    items,
    submissions,
    tasks,
    users,
)

WIDTHS = (56, 112, 224, 448)
"""Widths of pictures that the service makes, pixels."""
STRIP_COLUMNS = 16
EXAMPLES = 3
PAGE = 200
STATES: tuple[State, ...] = ("open", "needs_second", "adjudicate", "resolved", "flagged", "sealed")


def may_see(connection: Connection, person: Person, uid: str) -> Any:
    """Return an item's row for somebody who may see it.

    Raises:
        RefusedError: not_found; forbidden, an annotator who never had it.
    """
    item = connection.execute(sa.select(items).where(items.c.uid == uid)).first()
    if item is None:
        raise RefusedError("not_found", "there is no such item")
    if person.may("reviewer") or item.kind == "example":
        return item
    had = (tasks.c.item == uid) & (tasks.c.holder == person.id)
    begun = (tasks.c.item == uid) & (drafts.c.user == person.id)
    if connection.execute(sa.select(tasks.c.id).where(had)).first():
        return item
    if connection.execute(sa.select(tasks.c.id).join(drafts, drafts.c.task == tasks.c.id).where(begun)).first():
        return item
    raise RefusedError("forbidden", "this clip is not one of yours")


def item_for(connection: Connection, now: float, person: Person, uid: str, tab: str, *, whatif: bool) -> Item:
    """Return all that the page needs to show an item to a person in a tab."""
    item = may_see(connection, person, uid)
    campaign = connection.execute(sa.select(campaigns.c.facts).where(campaigns.c.id == item.campaign)).scalar_one()
    texts, facts = campaign["classes"], item.facts
    task = _task_for(connection, person, item)
    alive = bool(task and task.state == "open" and task.expires > now)
    mine = alive and task.holder == person.id
    submitted = bool(task and task.state == "done" and task.holder == person.id)
    purpose: Purpose = task.purpose if task else "first"
    sees_all = person.may("reviewer") and (purpose == "adjudicate" or not mine)
    return Item(
        uid=uid,
        campaign=item.campaign,
        state=item.state,
        purpose=purpose,
        dataset=campaign["dataset"],
        label=ClassText(label=item.label, text=texts[item.label]),
        predicted=ClassText(label=facts["predicted"], text=texts[facts["predicted"]]),
        top5=predictions(facts["top5"], facts["top5_scores"], texts),
        **{name: facts[name] for name in ("true_score", "true_rank", "margin", "attention")},
        model=campaign["model"],
        **{name: getattr(item, name) for name in ("num_frames", "fps", "width", "height", "content", "note")},
        window=_window(facts["window"]),
        windows=[_window(window) for window in facts["windows"]],
        widths=list(WIDTHS),
        strip_columns=STRIP_COLUMNS,
        examples=_examples(connection, item),
        guide=campaign["guide"],
        spatial=campaign["settings"]["spatial"],
        spatial_attention=facts["spatial"],
        whatif=whatif,
        init=task.init if task else campaign["settings"]["init"],
        init_fixed=bool(task and task.init_fixed),
        draft=_draft(connection, task, person, item),
        opinions=opinions_of(connection, uid) if sees_all and item.kind == "work" else [],
        submitted=submitted,
        holder="you" if mine else "other" if alive and task.holder else "nobody",
        lease=lease_for(task, tab) if mine else None,
    )


def _task_for(connection: Connection, person: Person, item: Any) -> Any:
    """Return the task through which a person sees an item: their newest one, otherwise the one that is asked now."""
    of_item = (tasks.c.item == item.uid) & (tasks.c.state != "void")
    begun = sa.exists().where((drafts.c.task == tasks.c.id) & (drafts.c.user == person.id))
    theirs = sa.select(tasks).where(of_item & sa.or_(tasks.c.holder == person.id, begun))
    found = connection.execute(theirs.order_by(tasks.c.id.desc()).limit(1)).first()
    shared = of_item & tasks.c.only.is_(None) & (tasks.c.state != "waiting")
    return found or connection.execute(sa.select(tasks).where(shared).order_by(tasks.c.id.desc()).limit(1)).first()


def _draft(connection: Connection, task: Any, person: Person, item: Any) -> Draft:
    if task is not None:
        where = (drafts.c.task == task.id) & (drafts.c.user == person.id)
        found = connection.execute(sa.select(drafts).where(where)).first()
        if found is not None:
            return draft_of(found)
    init: Init = task.init if task else "blank"
    unset = [None] * item.num_frames
    return Draft(
        version=0, scores=[*unset], sources=[*unset], init=init, seconds=0.0, editor="", spatial=[], saved=None
    )


def _window(values: Sequence[int]) -> Window:
    return Window(start=values[0], stop=values[1], stride=values[2])


def predictions(labels: Sequence[int], scores: Sequence[float], texts: Sequence[str]) -> list[Prediction]:
    """Return the best classes with their texts."""
    return [
        Prediction(label=label, text=texts[label], score=score) for label, score in zip(labels, scores, strict=True)
    ]


def _examples(connection: Connection, item: Any) -> list[Example]:
    where = (items.c.campaign == item.campaign) & (items.c.label == item.label) & (items.c.kind == "example")
    found = connection.execute(sa.select(items).where(where & (items.c.uid != item.uid)).order_by(items.c.turn))
    shown = ("uid", "num_frames", "width", "height", "content")
    return [
        Example(scores=row.truth, caption=row.note, **{name: getattr(row, name) for name in shown})
        for row in found.fetchmany(EXAMPLES)
    ]


def campaigns_for(connection: Connection, now: float, *, whatif: bool) -> list[Campaign]:
    """Return every campaign, the newest first."""
    rows = connection.execute(sa.select(campaigns).order_by(campaigns.c.created.desc(), campaigns.c.id)).all()
    same = ("name", "model", "dataset", "guide", "rule", "leak")
    return [
        Campaign(
            id=row.id,
            **{name: row.facts[name] for name in same},
            spatial=row.facts["settings"]["spatial"],
            whatif=whatif,
            classes=_class_counts(connection, now, row),
        )
        for row in rows
    ]


def _class_counts(connection: Connection, now: float, campaign: Any) -> list[ClassCount]:
    work = (items.c.campaign == campaign.id) & (items.c.kind == "work")
    of_state = sa.select(items.c.label, items.c.state, items.c.double, sa.func.count().label("n")).where(work)
    counts: dict[int, Counter[str]] = {}
    for row in connection.execute(of_state.group_by(items.c.label, items.c.state, items.c.double)):
        counts.setdefault(row.label, Counter())[row.state] += row.n
        counts[row.label]["items"] += row.n
        counts[row.label]["double"] += row.n * row.double
    alive = (tasks.c.campaign == campaign.id) & (tasks.c.state == "open") & (tasks.c.expires > now)
    leased = sa.select(tasks.c.label, sa.func.count().label("n")).where(alive & (tasks.c.purpose != "practice"))
    for row in connection.execute(leased.group_by(tasks.c.label)):
        counts.setdefault(row.label, Counter())["leased"] += row.n
    names = ("items", *STATES, "leased", "double")
    texts = campaign.facts["classes"]
    return [
        ClassCount(label=label, text=texts[label], **{name: counts[label][name] for name in names})
        for label in sorted(counts)
    ]


def progress(connection: Connection, now: float, person: Person, campaign_id: str) -> Progress:
    """Return how far a campaign is, by class and by person."""
    campaign = connection.execute(sa.select(campaigns).where(campaigns.c.id == campaign_id)).first()
    if campaign is None:
        raise RefusedError("not_found", "there is no such campaign")
    classes = _class_counts(connection, now, campaign)
    mean = sa.select(sa.func.avg(comparisons.c.kappa), sa.func.avg(comparisons.c.distance))
    agreement = connection.execute(
        mean.join(items, items.c.uid == comparisons.c.item).where(items.c.campaign == campaign_id)
    ).one()
    return Progress(
        items=sum(row.items for row in classes),
        done=sum(row.resolved + row.flagged + row.sealed for row in classes),
        classes=classes,
        people=_people(connection, person, campaign_id),
        kappa=agreement[0],
        distance=agreement[1],
    )


def _people(connection: Connection, person: Person, campaign: str) -> list[PersonCount]:
    shown = sa.select(users.c.id, users.c.name).order_by(users.c.created, users.c.id)
    if not person.may("reviewer"):
        shown = shown.where(users.c.id == person.id)
    of_campaign = items.c.campaign == campaign
    columns = (submissions.c.user, submissions.c.purpose, submissions.c.seconds, submissions.c.distance)
    answers: dict[str, list[Any]] = {}
    given = sa.select(*columns).join(items, items.c.uid == submissions.c.item).where(of_campaign)
    for row in connection.execute(given):
        answers.setdefault(row.user, []).append(row)
    raised = sa.select(flags.c.user).join(items, items.c.uid == flags.c.item).where(of_campaign)
    flagged = Counter(connection.scalars(raised))
    return [
        _person_count(row.id, row.name, answers.get(row.id, []), flagged[row.id]) for row in connection.execute(shown)
    ]


def _person_count(user: str, name: str, answers: Sequence[Any], flagged: int) -> PersonCount:
    work = [row.seconds for row in answers if row.purpose != "practice"]
    practice = [row.distance for row in answers if row.purpose == "practice"]
    return PersonCount(
        id=user,
        name=name,
        done=len(work),
        practice=len(practice),
        flagged=flagged,
        median_s=statistics.median(work) if work else None,
        mean_distance=statistics.fmean(practice) if practice else None,
    )


def items_of(
    connection: Connection, campaign: str, state: State | None = None, label: int | None = None, after: str = ""
) -> Items:
    """Return a page of a campaign's real items, by uid."""
    where = [items.c.campaign == campaign, items.c.kind == "work", items.c.uid > after]
    if state is not None:
        where.append(items.c.state == state)
    if label is not None:
        where.append(items.c.label == label)
    uids = list(connection.scalars(sa.select(items.c.uid).where(*where).order_by(items.c.uid).limit(PAGE)))
    return Items(items=listed(connection, uids), after=uids[-1] if len(uids) == PAGE else "")


def listed(connection: Connection, uids: Sequence[str]) -> list[ListedItem]:
    """Return rows of a reviewer's table, in order of uid."""
    valid = submissions.join(tasks, (tasks.c.id == submissions.c.task) & (tasks.c.state == "done"))
    asked = sa.select(submissions.c.item).select_from(valid).where(submissions.c.item.in_(uids))
    answers = Counter(connection.scalars(asked))
    reasons = _by_item(connection, sa.select(flags).where(flags.c.item.in_(uids)).order_by(flags.c.at))
    compared = _by_item(connection, sa.select(comparisons).where(comparisons.c.item.in_(uids)))
    batched = _by_item(connection, sa.select(batch_items).where(batch_items.c.item.in_(uids)))
    rows = connection.execute(sa.select(items).where(items.c.uid.in_(uids)).order_by(items.c.uid)).all()
    same = ("uid", "label", "state", "num_frames", "width", "height", "content", "reviewed", "note")
    return [
        ListedItem(
            **{name: getattr(row, name) for name in same},
            answers=answers[row.uid],
            flag=reasons[row.uid].reason if row.uid in reasons else "",
            flag_note=reasons[row.uid].note if row.uid in reasons else "",
            kappa=compared[row.uid].kappa if row.uid in compared else None,
            distance=compared[row.uid].distance if row.uid in compared else None,
            batch=batched[row.uid].batch if row.uid in batched else "",
        )
        for row in rows
    ]


def _by_item(connection: Connection, query: Any) -> Mapping[str, Any]:
    return {row.item: row for row in connection.execute(query)}
