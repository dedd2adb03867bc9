"""A search space: for some fields of a recipe, the values to try, read from the command line.

`edits.gamma_t=log(0.1,100)` draws evenly in the logarithm, `uniform(a,b)` evenly, `integers(a,b)` whole numbers with
both ends, `choice(x,y,...)` one of some values. Values are JSON, or words where they are no JSON: `choice([2,4],[3])`.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from pipeline.core.config import override, to_dict
from pipeline.core.errors import UserError, problem
from pipeline.tracking.run import flatten
from pipeline.train.runs import FREE

C = TypeVar("C")
Kind = Literal["log", "uniform", "integers", "choice"]
Values = Mapping[str, Any]
"""JSON values by field path."""
DIGITS = 4
EXAMPLES = "log(0.1,100), uniform(0,1), integers(1,8), choice(multistep,cosine), choice([2,4],[3])"


@dataclass(frozen=True)
class Distribution:
    """The values of one field."""

    path: str
    """Field of the recipe: section.key."""
    kind: Kind
    parts: tuple[Any, ...]
    """Both ends, or the values of a choice; JSON values."""

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one value."""
        if self.kind == "choice":
            return self.parts[int(rng.integers(len(self.parts)))]
        low, high = self.parts
        if self.kind == "integers":
            return int(rng.integers(low, high, endpoint=True))
        return self.at(float(rng.random()))

    def at(self, share: float) -> float:
        """Return the number at a share, 0 to 1, of the way between both ends of a continuous range."""
        low, high = self.parts
        if self.kind == "log":
            return self.near(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return self.near(low + share * (high - low))

    def near(self, value: float) -> float:
        """Return a number of a continuous range with DIGITS significant digits, which people can type again."""
        low, high = self.parts
        return float(min(max(float(f"{value:.{DIGITS}g}"), low), high))

    def grid(self, points: int) -> list[Any]:
        """Return every value of a choice or of whole numbers, or `points` numbers from end to end."""
        if self.kind == "choice":
            return list(self.parts)
        if self.kind == "integers":
            return list(range(self.parts[0], self.parts[1] + 1))
        return [self.at(i / (points - 1)) for i in range(points)]

    def text(self) -> str:
        """Return it as it is written on the command line."""
        return f"{self.path}={self.kind}({','.join(as_text(part) for part in self.parts)})"


@dataclass(frozen=True)
class Space:
    """Distributions of some fields, each field once."""

    fields: tuple[Distribution, ...]

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return a value for every field."""
        return {one.path: one.draw(rng) for one in self.fields}

    def grid(self, points: int) -> list[dict[str, Any]]:
        """Return every combination; continuous ranges have `points` values. The last field changes first."""
        paths = [one.path for one in self.fields]
        combined = itertools.product(*(one.grid(points) for one in self.fields))
        return [dict(zip(paths, values, strict=True)) for values in combined]

    def texts(self) -> list[str]:
        """Return it as it is written on the command line."""
        return [one.text() for one in self.fields]


def as_text(value: Any) -> str:
    """Return a value so that an override reads the same one: JSON without blanks, words as they are."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def assignments(values: Values) -> list[str]:
    """Return values as overrides of the command line: section.key=value."""
    return [f"{path}={as_text(value)}" for path, value in values.items()]


def with_values(recipe: C, values: Values) -> C:
    """Return the recipe with values put in.

    Raises:
        UserError: a field that it has not, or a value that does not fit.
    """
    return override(recipe, assignments(values))


def parse(texts: Iterable[str], recipe: Any) -> Space:
    """Read a search space, and try both ends or every value of each field in the recipe.

    Args:
        texts: `section.key=distribution(...)`.
        recipe: the config that the values are put into.

    Raises:
        UserError: what cannot be read, a field that the recipe lacks or that says nothing of what is trained, a value
            that its field or the recipe refuses.
    """
    fields = tuple(_distribution(text) for text in texts)
    if not fields:
        fix = f"add --search with a field and its values, as in {EXAMPLES}"
        raise UserError(problem("There is nothing to search", got="no --search", allowed="one or more fields", fix=fix))
    paths = [one.path for one in fields]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        fix = "give each field one distribution"
        raise UserError(problem("A field is searched twice", got=", ".join(twice), allowed="each once", fix=fix))
    for one in fields:
        _check(one, recipe)
    return Space(fields)


def _distribution(text: str) -> Distribution:
    found = re.fullmatch(r"\s*([\w.]+)\s*=\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    if not found or found[2] not in ("log", "uniform", "integers", "choice"):
        fix = "quote it for the shell: --search 'optim.lr=log(1e-5,1e-2)'"
        what = "A search space could not be read"
        raise UserError(problem(what, got=text, allowed=f"section.key= and one of {EXAMPLES}", fix=fix))
    path, kind, inside = found.groups()
    one = Distribution(path, kind, tuple(_value(part) for part in _split(inside)))  # type: ignore[arg-type]
    if wrong := _wrong_parts(one):
        allowed = f"{wrong}, as in {EXAMPLES}"
        raise UserError(problem(f"The values of {path} make no range", got=text, allowed=allowed, fix="correct it"))
    return one


def _split(inside: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inside):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append(inside[start:place])
            start = place + 1
    return [part.strip() for part in (*parts, inside[start:])]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _wrong_parts(one: Distribution) -> str:
    """Return what is allowed where the parts do not make a distribution; empty where they do."""
    if one.kind == "choice":
        texts = [as_text(part) for part in one.parts]
        return "" if "" not in texts and len(set(texts)) == len(texts) else "one value or more, each once"
    whole = one.kind == "integers"
    kinds = int if whole else (int, float)
    numbers: list[float] = [part for part in one.parts if isinstance(part, kinds) and not isinstance(part, bool)]
    words = f"two {'whole ' if whole else ''}numbers, the lower first"
    if len(one.parts) != 2 or len(numbers) != 2 or not -math.inf < numbers[0] < numbers[1] < math.inf:
        return words
    return f"{words}, both above 0" if one.kind == "log" and numbers[0] <= 0 else ""


def _check(one: Distribution, recipe: Any) -> None:
    if one.path == "name" or one.path.startswith(FREE):
        raise UserError(
            problem(
                "A field cannot be searched that says nothing of what is trained",
                got=one.path,
                allowed=f"fields other than {', '.join(field.rstrip('.') for field in FREE)}, name",
                fix="set it for all trials as section.key=value",
            )
        )
    for part in one.parts:
        try:
            tried = flatten(to_dict(with_values(recipe, {one.path: part})))[one.path]
        except UserError as error:
            raise UserError(f"--search {one.text()}: {error}") from error
        if one.kind in ("log", "uniform") and not isinstance(tried, float):
            fix = f"search {one.path}=integers(...) or choice(...)"
            what = f"{one.path} takes no fractions"
            raise UserError(problem(what, got=one.text(), allowed="integers or a choice", fix=fix))


def shown(values: Values, paths: Sequence[str] = ()) -> str:
    """Return values for a line: the last name of each path, all of them or those of `paths`."""
    chosen = {path: values[path] for path in (paths or values) if path in values}
    return "  ".join(f"{path.rpartition('.')[2]} {as_text(value)}" for path, value in chosen.items())
