"""Which clips people should look at: training clips that a network gets wrong, of the classes it does worst.

Step 1 of the loop (S0 section 3.2): classes whose top-1 is below one half on the training and on the validation split,
and of them every misclassified training clip. Choosing by validation labels lets a little of them into the training;
the paper does so. The campaign records it, and `train` chooses without.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from pipeline.annotate.campaign import Campaign, CampaignItem, CampaignSettings
from pipeline.annotate.schema import SPATIAL
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.place import Place
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.load import Recogniser
from pipeline.eval.metrics import Counts, count, empty_counts, rank_of
from pipeline.eval.place import centre_places
from pipeline.eval.predict import PredictJob, predict
from pipeline.finetune.spatial import laid_out
from pipeline.finetune.windows import VideoAttention, attend, named

LEAK = "the classes were chosen by validation labels too, as in the paper; scores on that split favour them a little"
BEST = 5
EXAMPLES = 2
"""Clips of each class that explain the levels."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How classes are chosen."""

    below: float = 0.5
    """Top-1 share that a class must stay below."""
    on: Literal["both", "train"] = "both"
    """Splits on which it must: training and validation, or training alone, which sees no validation label."""
    most: int = 8
    """Of more classes the worst are taken, by the mean of their shares; 0 takes all."""


@dataclass(frozen=True)
class Choice:
    """The chosen classes, and how it came to them."""

    classes: tuple[int, ...]
    rule: str
    leak: str


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the network said of one training clip."""

    video: str
    label: int
    predicted: int
    top5: tuple[int, ...]
    top5_scores: tuple[float, ...]
    true_score: float
    true_rank: int
    window: tuple[int, int, int]

    @property
    def margin(self) -> float:
        """Score of the prediction minus score of the true class."""
        return self.top5_scores[0] - self.true_score


@dataclass(frozen=True)
class Mined:
    """A campaign, and the numbers behind it."""

    campaign: Campaign
    facts: dict[str, Any]
    """JSON values: counts of both splits by class, and how they reconcile."""

    def sentence(self) -> str:
        """Say what was found."""
        counts, chosen = self.facts["counts"], [row for row in self.facts["classes"] if row["chosen"]]
        lines = [
            f"{counts['training_clips']} training and {counts['validation_clips']} validation clips scored; "
            f"{self.facts['rule']}",
            *(
                f"  {row['text']}: {row['train_hits']} of {row['train_videos']} right in training, "
                f"{row['validation_hits']} of {row['validation_videos']} in validation"
                for row in chosen
            ),
            f"{counts['chosen_wrong']} misclassified training clips to annotate, {counts['examples']} examples",
        ]
        return "\n".join([*lines, *([f"note: {self.facts['leak']}"] if self.facts["leak"] else [])])


def choose(train: Counts, validation: Counts, rule: Rule) -> Choice:
    """Choose classes; one without a video in a split that counts has no accuracy and is not chosen.

    Args:
        train: of the training split.
        validation: of the validation split.
        rule: how.

    Raises:
        UserError: no class is that bad.
    """
    used = (train, validation) if rule.on == "both" else (train,)
    totals_SK = np.stack([counts.total_by_class for counts in used])
    hits_SK = np.stack([np.diagonal(counts.confusion_KK) for counts in used])
    share_SK = hits_SK / np.maximum(totals_SK, 1)
    bad_K = ((totals_SK > 0) & (share_SK < rule.below)).all(axis=0)
    worst = sorted(np.flatnonzero(bad_K).tolist(), key=lambda k: (float(share_SK[:, k].mean()), k))
    where = "the training and the validation split" if rule.on == "both" else "the training split"
    if not worst:
        fix = "raise --below, or choose by --on train"
        best = f"lowest {100 * float(share_SK.max(axis=0)[(totals_SK > 0).all(axis=0)].min(initial=1.0)):.1f} %"
        what = f"No class has a top-1 below {100 * rule.below:g} % on {where}"
        raise UserError(problem(what, got=best, allowed="one class or more", fix=fix))
    taken = worst[: rule.most] if rule.most else worst
    text = f"top-1 below {100 * rule.below:g} % on {where}: {len(worst)} classes"
    if len(taken) < len(worst):
        text += f", the {len(taken)} lowest taken"
    return Choice(tuple(sorted(taken)), text, LEAK if rule.on == "both" else "")


def survey(rows: Iterable[Mapping[str, Any]], classes: int, clip_of: PredictJob) -> tuple[Counts, list[Scored]]:
    """Count predictions, and keep what is known of each clip.

    Args:
        rows: what `predict` yields without inversion.
        classes: K.
        clip_of: whose clips they are.
    """
    counts, scored, clip = empty_counts(classes), [], clip_of.protocol.clip
    for row in rows:
        scores_K, label_B = np.asarray(row["scores"], np.float32), np.array([row["label"]])
        counts += count(scores_K[None], label_B)
        order_K = np.argsort(-scores_K, kind="stable")[:BEST]
        indices = np.asarray(row["idx"], np.int32), np.asarray(row["valid"], np.bool_)
        scored.append(
            Scored(
                video=row["id"],
                label=int(label_B[0]),
                predicted=int(order_K[0]),
                top5=tuple(order_K.tolist()),
                top5_scores=tuple(scores_K[order_K].astype(float).tolist()),
                true_score=float(scores_K[label_B[0]]),
                true_rank=int(rank_of(scores_K[None], label_B)[0]) + 1,
                window=named(indices, clip, row["frames"]),
            )
        )
    return counts, scored


def mine(
    network: Recogniser,
    dataset: PreparedDataset,
    job: PredictJob,
    rule: Rule,
    campaign: Campaign,
    truth: Mapping[str, npt.NDArray[np.float32]] | None = None,
) -> Mined:
    """Score both splits, choose classes and collect their misclassified training clips; Ray must be connected.

    Args:
        network: that is asked, for what its recipe says of the splits.
        dataset: the data it was trained on.
        job: how to predict; its split does not matter.
        rule: how classes are chosen.
        campaign: name, guide and settings; what is found is filled in.
        truth: levels of every frame by video, of synthetic videos; clips that the network gets right then explain them.

    Raises:
        UserError: no class is bad enough, or the network has no attention to show.
    """
    if not network.has_attention:
        fix, got = "give the run of an st_abn network", f"a {network.recipe.model.arch}"
        raise UserError(problem("There is no attention to correct", got=got, allowed="an st_abn network", fix=fix))
    data, classes = network.recipe.data, len(dataset.classes)
    found = {}
    for split in (data.train_split, data.test_split):
        asked = replace(job, split=split, fold=data.fold, inversions=("none",), maps="none")
        found[split] = survey(predict(dataset, asked), classes, asked)
    (train, scored), (validation, _) = found[data.train_split], found[data.test_split]
    choice = choose(train, validation, rule)
    wrong = [clip for clip in scored if clip.label in choice.classes and clip.predicted != clip.label]
    shown = _examples(scored, choice.classes, truth or {})
    by_id = {video.id: video for video in dataset.videos(data.train_split, data.fold)}
    watched = replace(job, maps="all" if campaign.settings.spatial else "temporal")
    items = tuple(_items(dataset, wrong, shown, by_id, watched, truth or {}))
    filled = replace(campaign, items=items, rule=choice.rule, leak=choice.leak)
    return Mined(filled, _facts(train, validation, choice, len(wrong), len(shown), dataset.classes))


def _examples(scored: Sequence[Scored], classes: Sequence[int], truth: Mapping[str, Any]) -> list[Scored]:
    """Return the surest right answers of each class among the videos of known truth."""
    shown: list[Scored] = []
    for k in classes:
        right = [c for c in scored if c.label == k == c.predicted and c.video in truth]
        shown += sorted(right, key=lambda clip: (-clip.true_score, clip.video))[:EXAMPLES]
    return shown


def _items(
    dataset: PreparedDataset,
    wrong: Sequence[Scored],
    shown: Sequence[Scored],
    by_id: Mapping[str, PreparedVideo],
    job: PredictJob,
    truth: Mapping[str, npt.NDArray[np.float32]],
) -> Iterable[CampaignItem]:
    """Yield an item for every clip, with the attention of its whole video; near misses are asked first."""
    clips = [*wrong, *shown]
    videos = [by_id[clip.video] for clip in clips]
    shows = centre_places(dataset, job.protocol.clip)
    for number, (clip, video, seen) in enumerate(zip(clips, videos, attend(dataset.root, videos, job), strict=True)):
        example = number >= len(wrong)
        yield CampaignItem(
            video=clip.video,
            label=clip.label,
            predicted=clip.predicted,
            top5=clip.top5,
            top5_scores=clip.top5_scores,
            true_score=clip.true_score,
            true_rank=clip.true_rank,
            margin=clip.margin,
            num_frames=video.frames,
            attention_V=seen.attention_V,
            spatial_VP=_on_picture(seen, shows[clip.video]),
            window=clip.window,
            windows=seen.windows,
            priority=1.0 - clip.margin,
            kind="example" if example else "work",
            truth_V=truth[clip.video] if example else None,
            caption="known truth; the network gets this one right" if example else "",
        )


def _on_picture(seen: VideoAttention, place: Place) -> npt.NDArray[np.float32] | None:
    """Return the maps of a video on its whole pictures, for the cells that people paint; None without maps."""
    if seen.spatial_Vhw is None:
        return None
    whole_VHW = laid_out(torch.from_numpy(seen.spatial_Vhw), place, SPATIAL, SPATIAL)
    spatial_VP: npt.NDArray[np.float32] = whole_VHW.flatten(1).numpy()
    return spatial_VP


def _facts(
    train: Counts, validation: Counts, choice: Choice, wrong: int, shown: int, classes: Sequence[str]
) -> dict[str, Any]:
    """Return the counts, and fail where they do not add up."""
    chosen = list(choice.classes)
    total = int(train.total_by_class[chosen].sum())
    right = int(np.diagonal(train.confusion_KK)[chosen].sum())
    if right + wrong != total:
        raise RuntimeError(f"mining does not reconcile: {right} right and {wrong} wrong of {total} training clips")
    by_class = [
        {
            "class": k,
            "text": classes[k],
            "chosen": k in choice.classes,
            "train_videos": int(train.total_by_class[k]),
            "train_hits": int(train.confusion_KK[k, k]),
            "validation_videos": int(validation.total_by_class[k]),
            "validation_hits": int(validation.confusion_KK[k, k]),
        }
        for k in range(len(classes))
    ]
    counts = {"training_clips": train.videos, "validation_clips": validation.videos, "chosen_clips": total}
    counts |= {"chosen_right": right, "chosen_wrong": wrong, "examples": shown}
    return {"rule": choice.rule, "leak": choice.leak, "counts": counts, "classes": by_class}


def new_campaign(name: str, model: str, dataset: PreparedDataset, guide: str, settings: CampaignSettings) -> Campaign:
    """Return a campaign without clips about a data set.

    Args:
        name: of the campaign.
        model: name and version of the network.
        dataset: whose frames are shown.
        guide: for annotators.
        settings: how it is annotated.
    """
    return Campaign(
        name=name,
        model=model,
        dataset=dataset.name,
        classes=dataset.classes,
        passport=dataset.passport,
        root=dataset.root,
        rule="",
        guide=guide,
        settings=settings,
    )
