#!/usr/bin/env python3
"""How often the gates refuse a candidate that is as good as the champion, and how often they miss one that is not.

    python benchmarks/gates.py [--plans 2000] [--policy standard-1] [--churn 0.10] [--sizes val_videofolder.txt]
                               [--class-effect 0] [--tails 0] [--seed 0]

Simulates the frozen list at the size of Something-Something V2's validation split (24,777 videos, 174 classes of
unequal sizes) and asks the gates themselves. By how much a video's true class leads is its own difficulty plus what a
training happens to do: champion and candidate share the first and differ in the second, so that a tenth of the videos
(`--churn`) is right in only one of them. Without `--sizes` classes are as large as the quantiles of a gamma
distribution of shape 2, which is close to the official list: its median is 119.5 for 114.5, its quartiles 69 and 191
for 63 and 208, its largest class 574 for 530.

A true loss of x points in one class comes in two kinds: `shift`, where all its videos get harder alike, and `break`,
where every video that the candidate would have right is broken with the same chance, on top of the churn. A loss counts
as caught when a gate refuses that lets the same plan pass without the loss. Rates stand with their 95 % intervals.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.eval.metrics import wilson
from pipeline.retrain import stats
from pipeline.retrain.evidence import Attention
from pipeline.retrain.gates import judge_attention
from pipeline.retrain.gates_scores import judge_scores
from pipeline.retrain.policy import STANDARD, Policy, read_policy
from pipeline.retrain.stats import ByClass
from pipeline.retrain.verdict import GateResult, Verdict

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

VIDEOS, CLASSES, EDITED = 24_777, 174, 8
"""Something-Something V2's validation split, and the classes that S0 edited."""
TOP1 = 0.5862
"""S0 table 2, before."""
HELDOUT = 20
"""Videos with held-out edits."""
NAMES = tuple(str(k) for k in range(CLASSES))
CLASS_SD = 0.7
"""How much the mean lead differs between classes; 1 is how much videos of a class differ."""
SAMPLE = 400_000
"""Videos that a world is fitted on."""
CHUNK = 50
"""Plans simulated at once."""
LOSSES = (5, 7.5, 10, 15, 20)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
KINDS = ("shift", "break")
BY_LEADS = ("class_credit", "class_crash")
"""Gates that need to know by how much networks were right or wrong."""


@dataclass(frozen=True)
class World:
    """The list and its networks."""

    videos_K: IntArray
    mean: float
    """Mean lead of all videos."""
    training_sd: float
    """What a training adds to a video's lead at random."""
    tails: float
    """Degrees of freedom of that: Student's t, whose tails are the heavier the fewer; 0 is the normal distribution."""
    effect_sd: float
    """What the candidate's training adds to all videos of a class at random."""
    typical: float
    """The median of |lead| over the whole list."""
    average_S: FloatArray
    """Leads in a class of average difficulty, a sample."""

    def draw(self, rng: np.random.Generator, plans: int) -> Iterator[ByClass]:
        """Compare champions with candidates that are as good, and yield the counts of each plan."""
        first_K = np.cumsum(self.videos_K) - self.videos_K
        shape = (plans, int(self.videos_K.sum()))
        class_PK = self.mean + CLASS_SD * rng.standard_normal((plans, len(self.videos_K)))
        effect_PK = self.effect_sd * rng.standard_normal(class_PK.shape)
        own_PN = np.repeat(class_PK, self.videos_K, axis=1) + rng.standard_normal(shape)
        champion_PN = own_PN + self.training_sd * drawn(rng, shape, self.tails)
        candidate_PN = own_PN + self.training_sd * drawn(rng, shape, self.tails)
        candidate_PN += np.repeat(effect_PK, self.videos_K, axis=1)
        more_PN = stats.credit(candidate_PN) - stats.credit(champion_PN)
        right_PN, after_PN = champion_PN > 0, candidate_PN > 0

        def summed(values_PN: npt.NDArray[np.bool_] | FloatArray) -> FloatArray:
            sums_PK: FloatArray = np.add.reduceat(values_PN, first_K, axis=1, dtype=np.float64)
            return sums_PK

        right_PK, gained_PK = summed(right_PN).astype(np.int64), summed(after_PN & ~right_PN).astype(np.int64)
        lost_PK = summed(right_PN & ~after_PN).astype(np.int64)
        credit_PK, upward_PK = summed(more_PN), summed(np.maximum(more_PN, 0.0) ** 2)
        risen_PK, crashed_PK = (summed(m).astype(np.int64) for m in (more_PN >= stats.CRASH, more_PN <= -stats.CRASH))
        for p in range(plans):
            partial = (credit_PK[p], upward_PK[p], risen_PK[p], crashed_PK[p])
            yield ByClass(self.videos_K, right_PK[p], gained_PK[p], lost_PK[p], *partial)

    def lose(self, counts: ByClass, k: int, points: float, kind: str, rng: np.random.Generator) -> ByClass:
        """Return the counts of a plan whose candidate has truly lost points in class k, of average difficulty."""
        videos = int(self.videos_K[k])
        own_V = self.mean + rng.standard_normal(videos)
        noises = (drawn(rng, (videos,), self.tails) for _ in range(2))
        champion_V, candidate_V = (own_V + self.training_sd * noise_V for noise_V in noises)
        share = float((self.average_S > 0).mean())
        if kind == "shift":
            candidate_V -= float(np.quantile(self.average_S, 1.0 - share + points / 100))
        else:
            broken_V = (candidate_V > 0) & (rng.random(videos) < points / 100 / share)
            candidate_V = np.where(broken_V, -np.abs(candidate_V), candidate_V)
        more_V = stats.credit(candidate_V, self.typical) - stats.credit(champion_V, self.typical)
        right_V, after_V = champion_V > 0, candidate_V > 0
        return replace(
            counts,
            right_K=put(counts.right_K, k, right_V.sum()),
            gained_K=put(counts.gained_K, k, (after_V & ~right_V).sum()),
            lost_K=put(counts.lost_K, k, (right_V & ~after_V).sum()),
            credit_K=put(counts.credit_K, k, more_V.sum()),
            upward_K=put(counts.upward_K, k, (np.maximum(more_V, 0.0) ** 2).sum()),
            risen_K=put(counts.risen_K, k, (more_V >= stats.CRASH).sum()),
            crashed_K=put(counts.crashed_K, k, (more_V <= -stats.CRASH).sum()),
        )


def drawn(rng: np.random.Generator, shape: tuple[int, ...], tails: float) -> FloatArray:
    """Return normal numbers, or Student's with so many degrees of freedom."""
    return rng.standard_t(tails, shape) if tails else rng.standard_normal(shape)


def put(values_K: npt.NDArray[Any] | None, k: int, value: float) -> Any:
    """Return a copy with one entry replaced."""
    assert values_K is not None
    copy_K = values_K.copy()
    copy_K[k] = value
    return copy_K


def gamma_sizes() -> IntArray:
    """Return class sizes at the quantiles of a gamma distribution of shape 2, which add up to VIDEOS."""
    x = np.linspace(0.0, 20.0, 200_001)
    quantile_K = np.interp((np.arange(CLASSES) + 0.5) / CLASSES, 1.0 - (1.0 + x) * np.exp(-x), x)
    exact_K = VIDEOS * quantile_K / quantile_K.sum()
    size_K = np.floor(exact_K).astype(np.int64)
    size_K[np.argsort(size_K - exact_K)[: VIDEOS - int(size_K.sum())]] += 1  # the largest remainders
    rounded_K: IntArray = size_K
    return rounded_K


def official_sizes(path: str) -> IntArray:
    """Return class sizes of a list with lines of video, frames, class index."""
    labels = [int(line.split()[2]) for line in Path(path).read_text().splitlines() if line.strip()]
    sizes: IntArray = np.sort(np.bincount(labels)).astype(np.int64)
    return sizes


def world_of(size_K: IntArray, churn: float, effect_points: float, tails: float = 0.0) -> World:
    """Return the world whose champion has TOP1, and whose trainings differ in a share of the videos.

    Args:
        size_K: videos by class.
        churn: share of videos that only one of two trainings gets right.
        effect_points: standard deviation over classes of what the candidate's training changes in a whole class, in
            points of top-1 for a class of average difficulty.
        tails: see World.
    """
    rng = np.random.default_rng(0)
    class_S, video_S = CLASS_SD * rng.standard_normal(SAMPLE), rng.standard_normal(SAMPLE)
    noise_S, other_S = (drawn(rng, (SAMPLE,), tails) for _ in range(2))
    low, high = 1e-3, 10.0
    for _ in range(40):  # more noise of training, more churn
        sd = math.sqrt(low * high)
        first_S, second_S = (class_S + video_S + sd * one_S for one_S in (noise_S, other_S))
        mean = -float(np.quantile(first_S, 1.0 - TOP1))
        found = float(((first_S > -mean) != (second_S > -mean)).mean())
        low, high = (sd, high) if found < churn else (low, sd)
    average_S = mean + video_S + sd * noise_S
    point = float(np.quantile(average_S, 1.0 - (average_S > 0).mean() + 0.01))  # lead for a point of top-1
    typical = float(np.median(np.abs(mean + first_S)))
    return World(size_K, mean, sd, tails, effect_points * point, typical, average_S)


def attention(rng: np.random.Generator, churn: float, heldout: int) -> Attention:
    """Return attention of networks that are equally good: inversions with churn, distances that scatter by a third."""
    gained, lost = rng.binomial(VIDEOS, churn / 2, size=(2, 2))  # without inversion, with both
    before = 0.1 * rng.lognormal(0.0, 0.6, heldout)
    after = before * rng.lognormal(0.0, 0.3, heldout)
    return Attention(
        heldout_videos=heldout,
        heldout_before=float(before.mean()),
        heldout_after=float(after.mean()),
        inversion_before=31.5,
        inversion_after=31.5 + 100.0 * float((gained - lost) @ [1, -1]) / VIDEOS,
        spread_before=0.1,
        spread_after=0.1,
    )


def most_powerful(videos: int, churn: float, points: float, alpha: float) -> float:
    """Return how often any test of right and wrong in a class can see a loss on top of the churn (Neyman, Pearson).

    Args:
        videos: of the class.
        churn: known share of videos in which equally good networks differ.
        points: truly lost, exactly and in this class.
        alpha: chance of a false alarm in this class.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, videos + 1)))])
    lost_J, gained_J = (grid.ravel() for grid in np.indices((videos + 1, videos + 1)))
    possible_J = lost_J + gained_J <= videos
    lost_J, gained_J = lost_J[possible_J], gained_J[possible_J]
    same_J = videos - lost_J - gained_J
    ways_J = log_factorial[videos] - log_factorial[lost_J] - log_factorial[gained_J] - log_factorial[same_J]

    def chance(lost: float, gained: float) -> FloatArray:
        rest = 1 - lost - gained
        chance_J: FloatArray = ways_J + lost_J * math.log(lost) + gained_J * math.log(gained) + same_J * math.log(rest)
        return np.exp(chance_J)

    null_J, true_J = chance(churn / 2, churn / 2), chance(churn / 2 + points / 100, churn / 2)
    order_J = np.argsort(null_J / np.maximum(true_J, 1e-300))
    alarm_J = np.cumsum(null_J[order_J])
    inside = int(np.searchsorted(alarm_J, alpha))
    rest = alpha - (alarm_J[inside - 1] if inside else 0.0)  # the randomised test's share of the next outcome
    return float(true_J[order_J[:inside]].sum() + true_J[order_J[inside]] * rest / null_J[order_J[inside]])


@dataclass(frozen=True)
class Judged:
    """A plan without true change, and the gates that refuse it all the same."""

    counts: ByClass
    edited_K: npt.NDArray[np.bool_]
    refused: frozenset[str]


def refusals(results: Sequence[GateResult]) -> frozenset[str]:
    """Return the gates that raise an alarm."""
    return frozenset(r.gate for r in results if not r.passed and r.kind == "harm")


def caught(
    world: World, judged: Sequence[Judged], policy: Policy, loss: tuple[int, float, str], seed: int
) -> list[int]:
    """Return how many of the plans are refused because of a true loss: by all gates, and without BY_LEADS.

    Args:
        world: the list.
        judged: plans without the loss.
        policy: the limits.
        loss: class index, points, kind.
        seed: of the loss.
    """
    rng, found = np.random.default_rng(seed), [0, 0]
    for one in judged:
        counts = world.lose(one.counts, *loss, rng)
        new = refusals(judge_scores(counts, NAMES, one.edited_K, policy)) - one.refused
        found = [found[0] + bool(new), found[1] + bool(new - set(BY_LEADS))]
    return found


def without_change(world: World, policy: Policy, request: argparse.Namespace) -> tuple[list[Judged], list[str]]:
    """Simulate plans without true change, judge them, and say how they fared."""
    rng = np.random.default_rng(request.seed)
    judged: list[Judged] = []
    refused, outcomes, naive = Counter[str](), Counter[str](), Counter[str]()
    while len(judged) < request.plans:
        for counts in world.draw(rng, min(CHUNK, request.plans - len(judged))):
            edited_K = np.isin(np.arange(CLASSES), rng.choice(CLASSES, EDITED, replace=False))
            results = judge_scores(counts, NAMES, edited_K, policy)
            judged.append(Judged(counts, edited_K, refusals(results)))
            results += judge_attention(attention(rng, request.churn, HELDOUT), policy.attention)
            verdict = Verdict(passed=all(r.passed for r in results), policy=policy.id, results=tuple(results))
            outcomes[verdict.outcome] += 1
            alarms = refusals(results)
            refused.update(alarms)
            refused["without leads"] += bool(alarms - set(BY_LEADS))
            share_K = (counts.lost_K - counts.gained_K) / counts.videos_K
            naive["no class may drop"] += bool((share_K > 0).any())
            naive["no class may drop by more than 5 points"] += bool((share_K > 0.05).any())
            naive["overall not below -0.3 points, chance or not"] += bool(share_K @ counts.videos_K > 0.003 * VIDEOS)
    plans, total = len(judged), refused.pop("without leads")
    lines = [
        f"  refused {rate(outcomes['refuse'], plans)}; by gates over right and wrong alone {rate(total, plans)}",
        f"  kept    {rate(outcomes['keep'], plans)}: harmless, no benefit shown",
        f"  promoted {rate(outcomes['promote'], plans)}",
        *(f"    by {gate:<15} {rate(n, plans)}" for gate, n in refused.most_common()),
        *(f"  refused by the rule '{rule}' {rate(n, plans)}" for rule, n in naive.items()),
    ]
    return judged, lines


def rate(hits: int, total: int) -> str:
    """Return a share in percent with its interval."""
    found = wilson(hits, total)
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", type=int, default=2000)
    parser.add_argument("--policy", default=STANDARD, help="name or file")
    parser.add_argument("--churn", type=float, default=0.10, help="share of videos right in only one of two (0.10)")
    parser.add_argument("--sizes", default="", help="a list with lines of video, frames, class index")
    parser.add_argument(
        "--class-effect", type=float, default=0.0, help="points of top-1 that a whole class shifts (sd)"
    )
    parser.add_argument(
        "--tails", type=float, default=0.0, help="training noise of Student's t with these degrees (0: normal)"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, judge, print."""
    request, began = parse(arguments), time.process_time()
    policy = read_policy(request.policy)
    size_K = official_sizes(request.sizes) if request.sizes else gamma_sizes()
    world = world_of(size_K, request.churn, request.class_effect, request.tails)
    median = int(np.argsort(size_K)[len(size_K) // 2])
    print(f"policy {policy.id}; {size_K.sum():,} videos, {len(size_K)} classes of {size_K.min()} to {size_K.max()}")
    judged, lines = without_change(world, policy, request)
    differing = np.mean([one.counts.gained_K.sum() + one.counts.lost_K.sum() for one in judged]) / size_K.sum()
    shift, tails = request.class_effect, request.tails
    print(f"churn {100 * differing:.2f} %; whole classes shift by {shift:g} points (sd); tails {tails:g}")
    print(f"\nNo true change, {request.plans} plans, of any harm gate over answers and attention", *lines, sep="\n")
    print(
        f"\nA true loss of 10 points in the class of median size ({size_K[median]} videos), {request.plans // 2} plans"
    )
    for kind in KINDS:
        some = judged[: request.plans // 2]
        found, alone = caught(world, some, policy, (median, 10.0, kind), request.seed + 1)
        print(f"  {kind}: caught {rate(found, len(some))}; by right and wrong alone {rate(alone, len(some))}")
    best = most_powerful(int(size_K[median]), request.churn, 10.0, 0.05 / len(size_K))
    print(f"  no test of right and wrong with 5 % false alarms over all classes catches more than {100 * best:.1f} %")
    curve(world, judged[: request.plans // 10], policy, request.seed + 2)
    print(f"\n{time.process_time() - began:.0f} s of CPU time")


def curve(world: World, judged: Sequence[Judged], policy: Policy, seed: int) -> None:
    """Print how often losses are caught by size of loss and class."""
    order_K = np.argsort(world.videos_K)
    chosen = [int(order_K[int(q * len(order_K))]) for q in QUANTILES]
    print(f"\nCaught, in % of {len(judged)} plans; in brackets by right and wrong alone")
    print(f"{'points':>14}" + "".join(f"{world.videos_K[k]:>9} videos" for k in chosen))
    for kind in KINDS:
        for points in LOSSES:
            cells = [caught(world, judged, policy, (k, points, kind), seed) for k in chosen]
            shown = (f"{100 * a / len(judged):.0f} ({100 * b / len(judged):.0f})" for a, b in cells)
            print(f"{kind:>8}{points:>6g}" + "".join(f"{cell:>16}" for cell in shown))


if __name__ == "__main__":
    main()
