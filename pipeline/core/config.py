"""Frozen dataclass configs to and from plain dictionaries, and `section.key=value` overrides from the command line."""

import dataclasses
import difflib
import json
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pipeline.core.errors import UserError, problem

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """Return `config` (a dataclass instance) as nested JSON-compatible dictionaries; tuples become lists."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(cls: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Build the dataclass `cls` from nested dictionaries, checking names and types.

    Raises:
        UserError: unknown key (with the nearest known one), a value that does not fit the field's type, or what the
            dataclass itself refuses.
    """
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UserError(_unknown(where + key, [where + k for k in known]))
    fields = {key: _coerce(hints[key], value, where + key) for key, value in values.items()}
    try:
        return cls(**fields)
    except ValueError as error:  # of a dataclass that knows nothing of UserError, such as a network's
        raise UserError(str(error)) from error


def override(config: C, assignments: Iterable[str]) -> C:
    """Apply `section.key=value` assignments to a frozen config and return the new one.

    Values are read as JSON where they parse as JSON (`0.1`, `true`, `null`, `[1,2]`), otherwise as strings.

    Raises:
        UserError: a malformed assignment, an unknown key, or a value of the wrong type.
    """
    values = to_dict(config)
    for assignment in assignments:
        path, eq, text = assignment.partition("=")
        if not eq or not path:
            raise UserError(
                problem(
                    "An override could not be read",
                    got=assignment,
                    allowed="section.key=value, for example optim.lr=0.01",
                    fix="write one assignment an argument, without spaces around '='",
                )
            )
        *sections, leaf = path.split(".")
        node: Any = values
        for depth, name in enumerate([*sections, leaf]):
            if not isinstance(node, dict) or name not in node:
                prefix = ".".join(sections[:depth])
                siblings = [f"{prefix}.{k}" if prefix else k for k in (node if isinstance(node, dict) else ())]
                raise UserError(_unknown(path, siblings))
            if depth < len(sections):
                node = node[name]
        node[leaf] = _parse(text)
    return from_dict(type(config), values)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _unknown(path: str, known: list[str]) -> str:
    near = difflib.get_close_matches(path, known, n=1)
    return problem(
        "A config key is unknown",
        got=path,
        allowed=", ".join(known),
        fix=f"did you mean {near[0]}?" if near else "use one of the allowed keys",
    )


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """Return `value` as the type `hint` asks for, or raise UserError naming the field `where`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _coerce_any([a for a in args if a is not type(None)], value, where)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return from_dict(hint, value, where + ".")  # type: ignore[arg-type]
        raise UserError(_mistyped(where, value, "a section of keys"))
    if origin is Literal:
        if value in args:
            return value
        raise UserError(_mistyped(where, value, ", ".join(map(repr, args))))
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(_mistyped(where, value, "a JSON list"))
        variadic = len(args) == 2 and args[1] is Ellipsis
        if not variadic and len(value) != len(args):
            raise UserError(_mistyped(where, value, f"a list of {len(args)} values"))
        inner = [args[0]] * len(value) if variadic else args
        return tuple(_coerce(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(inner, value, strict=True)))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(_mistyped(where, value, "a JSON object"))
        return {key: _coerce(args[1], one, f"{where}.{key}") for key, one in value.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is hint:
        return value
    raise UserError(_mistyped(where, value, getattr(hint, "__name__", str(hint))))


def _coerce_any(hints: list[Any], value: Any, where: str) -> Any:
    errors = []
    for hint in hints:
        try:
            return _coerce(hint, value, where)
        except UserError as error:
            errors.append(error)
    raise errors[0]


def _mistyped(where: str, value: Any, allowed: str) -> str:
    return problem(
        f"The config value {where} has the wrong type", got=value, allowed=allowed, fix=f"set {where} to one"
    )
