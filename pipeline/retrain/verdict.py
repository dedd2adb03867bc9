"""What a gate says, and what all of them say together, for the ledger and for whoever is on call."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.retrain.policy import Missing

Kind = Literal["harm", "benefit"]


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One gate's answer."""

    gate: str
    passed: bool
    """Whether it lets the candidate pass; so does a gate that had nothing to judge, if the policy says so."""
    figures: dict[str, float]
    """What was measured; numbers that are not finite are left out, and pass no gate."""
    limits: dict[str, float]
    """What the policy asks for."""
    sentence: str
    kind: Kind = "harm"
    """harm: failing is an alarm. benefit: failing alone means that the champion stays."""
    judged: bool = True
    """False when there was nothing to judge."""

    @property
    def word(self) -> str:
        """The answer in a word or two."""
        if not self.judged:
            return "not judged" if self.passed else "MISSING"
        if self.passed:
            return "passed"
        return "REFUSED" if self.kind == "harm" else "no benefit"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All gates' answers."""

    passed: bool
    """Every gate lets the candidate pass: it may be promoted."""
    policy: str
    """Name of the limits, with the digest of their content."""
    results: tuple[GateResult, ...]

    @property
    def outcome(self) -> Literal["promote", "keep", "refuse"]:
        """Promote; keep the champion where no benefit was shown; refuse where there is harm or too little is known."""
        if self.passed:
            return "promote"
        alarm = any(not r.passed and (r.kind == "harm" or not r.judged) for r in self.results)
        return "refuse" if alarm else "keep"

    @property
    def sentence(self) -> str:
        """What follows, and which gates said so."""
        failed = ", ".join(r.gate for r in self.results if not r.passed)
        unjudged = ", ".join(r.gate for r in self.results if r.passed and not r.judged)
        said = {
            "promote": "The candidate may be promoted: all gates let it pass.",
            "keep": f"The champion stays: the candidate does no harm, but shows no benefit ({failed}).",
            "refuse": f"The candidate is refused by {failed}.",
        }[self.outcome]
        return said + (f" Not judged: {unjudged}." if unjudged else "")

    def table(self) -> str:
        """Return all gates with their figures and limits in plain text."""
        rows = [("gate", "answer", "figures", "limits")]
        rows += [(r.gate, r.word, _listed(r.figures), _listed(r.limits)) for r in self.results]
        wide = [max(len(row[i]) for row in rows) for i in range(2)]
        lines = [self.sentence, f"Policy {self.policy}.", ""]
        for number, (gate, answer, figures, limits) in enumerate(rows):
            lines.append(f"{gate:<{wide[0]}}  {answer:<{wide[1]}}  {figures or '-'} | {limits or '-'}")
            if number:
                lines.append(f"{'':<{wide[0]}}  {self.results[number - 1].sentence}")
        return "\n".join(lines)


def result(
    gate: str,
    passed: bool,
    figures: Mapping[str, float],
    limits: Mapping[str, float],
    sentence: str,
    kind: Kind = "harm",
) -> GateResult:
    """Return the answer of a gate that had something to judge."""
    return GateResult(
        gate=gate,
        passed=bool(passed) and len(_finite(figures)) == len(figures),
        figures=_finite(figures),
        limits=_finite(limits),
        sentence=sentence,
        kind=kind,
    )


def missing(gate: str, policy: Missing, what: str, figures: Mapping[str, float], kind: Kind = "harm") -> GateResult:
    """Return the answer of a gate that had nothing to judge."""
    passes = policy == "not judged"
    said = "lets the candidate pass unjudged" if passes else "asks for it, so it is refused"
    return GateResult(
        gate=gate,
        passed=passes,
        figures=_finite(figures),
        limits={},
        sentence=f"{what}; the policy {said}.",
        kind=kind,
        judged=False,
    )


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return what JSON can hold."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _listed(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
