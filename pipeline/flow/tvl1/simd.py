"""Sixteen float32 at a time in numba-compiled code.

numba has scalars only and leaves vectors to LLVM's guesses, which fail as soon as planes of one buffer might overlap.
This adds one type, `Lanes`, that LLVM keeps in vector registers (one of AVX-512, two of AVX2, four of SSE or NEON) and
the operations that TV-L1 needs. Arithmetic is "fast": a division may become a refined reciprocal, and sums may be
reordered; infinities and NaN must not occur.

Every function below works inside compiled code only. Indices count float32 from the start of a contiguous array and are
not checked; no alignment is needed, 64 bytes are fastest.
"""

import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, models, register_model

F = TypeVar("F", bound=Callable[..., Any])
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

LANES = 16
"""Pixels of one vector."""

_F32 = ir.FloatType()
_I32 = ir.IntType(32)
_VECTOR = ir.VectorType(_F32, LANES)
_QUAD = 4
_FAST = ("fast",)


def compiled(function: F) -> F:
    """Compile for this CPU on first use, without the GIL; `Lanes` and the functions below are understood."""
    fast: F = numba.njit(nogil=True, error_model="numpy", fastmath=True)(function)
    return fast


class Lanes:
    """Sixteen float32 with arithmetic, as compiled code sees them; Python never makes one."""

    def __add__(self, other: "Lanes") -> "Lanes": ...  # type: ignore[empty-body]
    def __sub__(self, other: "Lanes") -> "Lanes": ...  # type: ignore[empty-body]
    def __mul__(self, other: "Lanes") -> "Lanes": ...  # type: ignore[empty-body]
    def __truediv__(self, other: "Lanes") -> "Lanes": ...  # type: ignore[empty-body]


class _LanesType(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES = _LanesType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _arithmetic(symbol: Any, instruction: str) -> None:
    """Let `symbol` between two `Lanes` be an LLVM instruction."""

    class Template(ConcreteTemplate):  # type: ignore[misc]
        cases = [_LANES(_LANES, _LANES)]  # noqa: RUF012

    def lower(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
        return getattr(builder, instruction)(*args, flags=_FAST)

    infer_global(symbol)(Template)
    lower_builtin(symbol, _LANES, _LANES)(lower)


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


def _operation(gives: Any, *takes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function for compiled code out of one that emits LLVM instructions.

    Args:
        gives: numba's type of the result.
        takes: numba's types of the arguments; None for an array, of which the emitter gets the address.
    """

    def decorate(emit: Callable[..., Any]) -> Callable[..., Any]:
        def typed(typing_context: Any, *args: Any) -> Any:
            def codegen(context: Any, builder: Any, signature: Any, values: Sequence[Any]) -> Any:
                plain = [
                    context.make_array(kind)(context, builder, value).data if take is None else value
                    for take, kind, value in zip(takes, signature.args, values, strict=True)
                ]
                result = emit(builder, *plain)
                if isinstance(result, tuple):
                    return context.make_tuple(builder, signature.return_type, result)
                return context.get_dummy_value() if result is None else result

            kinds = [arg if take is None else take for take, arg in zip(takes, args, strict=True)]
            return gives(*kinds), codegen

        names = ["typing_context", *(f"argument{n}" for n in range(len(takes)))]
        parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # numba binds arguments by it
        typed.__name__, typed.__doc__ = emit.__name__, emit.__doc__
        made: Callable[..., Any] = intrinsic(typed)
        return made

    return decorate


def _pointer(builder: Any, data: Any, i: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [i], inbounds=True), kind.as_pointer())


def _load(builder: Any, data: Any, i: Any, kind: Any) -> Any:
    return builder.load(_pointer(builder, data, i, kind), align=4, typ=kind)


def _store(builder: Any, data: Any, i: Any, value: Any) -> None:
    builder.store(value, _pointer(builder, data, i, value.type), align=4)


def _shuffle(builder: Any, a: Any, b: Any, lanes: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(lanes)), list(lanes))
    return builder.shuffle_vector(a, b, mask)


def _splat(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined), value, _I32(0))
    return _shuffle(builder, one, one, [0] * LANES)


def _call(builder: Any, name: str, gives: Any, *args: Any) -> Any:
    kind = ir.FunctionType(gives, [arg.type for arg in args])
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, args, fastmath=_FAST)


@_operation(_LANES, None, types.intp)
def load(builder: Any, data: Any, i: Any) -> Any:
    """(array, i): the sixteen from index i."""
    return _load(builder, data, i, _VECTOR)


@_operation(types.none, None, types.intp, _LANES)
def store(builder: Any, data: Any, i: Any, value: Any) -> None:
    """(array, i, lanes): write sixteen from index i."""
    _store(builder, data, i, value)


@_operation(types.none, None, types.intp, _LANES)
def store_integers(builder: Any, data: Any, i: Any, value: Any) -> None:
    """(int32_array, i, lanes): write sixteen whole numbers from index i."""
    _store(builder, data, i, builder.fptosi(value, ir.VectorType(_I32, LANES)))


@_operation(types.float32, None, types.intp)
def get(builder: Any, data: Any, i: Any) -> Any:
    """(array, i): one number."""
    return _load(builder, data, i, _F32)


@_operation(types.none, None, types.intp, types.float32)
def put(builder: Any, data: Any, i: Any, value: Any) -> None:
    """(array, i, value): write one number."""
    _store(builder, data, i, value)


@_operation(types.intp, None, types.intp)
def get_integer(builder: Any, data: Any, i: Any) -> Any:
    """(int32_array, i): one whole number."""
    return builder.sext(_load(builder, data, i, _I32), ir.IntType(64))


@_operation(_LANES, types.float32)
def splat(builder: Any, value: Any) -> Any:
    """(value): the same number sixteen times."""
    return _splat(builder, value)


@_operation(_LANES)
def ramp(builder: Any) -> Any:
    """Without arguments: 0, 1, ..., 15."""
    return ir.Constant(_VECTOR, [float(lane) for lane in range(LANES)])


@_operation(_LANES, _LANES, _LANES)
def smaller(builder: Any, a: Any, b: Any) -> Any:
    """The smaller of two, lane by lane."""
    return builder.select(builder.fcmp_ordered("<", a, b, flags=_FAST), a, b)


@_operation(_LANES, _LANES, _LANES)
def larger(builder: Any, a: Any, b: Any) -> Any:
    """The larger of two, lane by lane."""
    return builder.select(builder.fcmp_ordered("<", a, b, flags=_FAST), b, a)


@_operation(_LANES, _LANES)
def floor(builder: Any, a: Any) -> Any:
    """(a): the floor, lane by lane."""
    return _call(builder, "llvm.floor.v16f32", _VECTOR, a)


@_operation(_LANES, _LANES)
def reciprocal_root(builder: Any, a: Any) -> Any:
    """(a): 1 / sqrt(a) for a > 0; one approximate instruction and a Newton step where the CPU has it."""
    root = _call(builder, "llvm.sqrt.v16f32", _VECTOR, a)
    return builder.fdiv(ir.Constant(_VECTOR, [1.0] * LANES), root, flags=_FAST)


@_operation(_LANES, _LANES, types.intp)
def first(builder: Any, a: Any, count: Any) -> Any:
    """(a, count): a with zeros after its first `count` lanes."""
    index = ir.Constant(ir.VectorType(_I32, LANES), list(range(LANES)))
    inside = builder.icmp_signed("<", index, _splat(builder, builder.trunc(count, _I32)))
    return builder.select(inside, a, ir.Constant(_VECTOR, [0.0] * LANES))


@_operation(types.float32, _LANES)
def total(builder: Any, a: Any) -> Any:
    """(a): the sum of the sixteen."""
    return _call(builder, "llvm.vector.reduce.fadd.v16f32", _F32, ir.Constant(_F32, -0.0), a)


@_operation(_LANES, _LANES, _LANES)
def from_left(builder: Any, before: Any, a: Any) -> Any:
    """(before, a): each lane's left neighbour, where `before` lies left of `a`."""
    return _shuffle(builder, before, a, range(LANES - 1, 2 * LANES - 1))


@_operation(_LANES, _LANES, _LANES)
def from_right(builder: Any, a: Any, after: Any) -> Any:
    """(a, after): each lane's right neighbour, where `after` lies right of `a`."""
    return _shuffle(builder, a, after, range(1, LANES + 1))


@_operation(_LANES, *[types.float32] * _QUAD)
def in_fours(builder: Any, *values: Any) -> Any:
    """(a, b, c, d): aaaabbbbccccdddd."""
    made = ir.Constant(_VECTOR, ir.Undefined)
    for lane in range(LANES):
        made = builder.insert_element(made, values[lane // _QUAD], _I32(lane))
    return made


@_operation(types.none, None, types.intp, _LANES)
def store_sum_of_fours(builder: Any, data: Any, i: Any, a: Any) -> None:
    """(array, i, lanes): add the four groups of four and write the four sums from index i."""
    half = builder.fadd(*(_shuffle(builder, a, a, range(s, s + 8)) for s in (0, 8)), flags=_FAST)
    _store(
        builder,
        data,
        i,
        builder.fadd(*(_shuffle(builder, half, half, range(s, s + 4)) for s in (0, 4)), flags=_FAST),
    )


@_operation(types.none, None, types.intp, _LANES, _LANES, _LANES)
def store_interleaved(builder: Any, data: Any, i: Any, *planes: Any) -> None:
    """(array, i, a, b, c): write a0 b0 c0 0 a1 b1 c1 0 ..., 64 numbers from index i."""
    a, b, c = planes
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    ab = _shuffle(builder, a, b, range(2 * LANES))
    c0 = _shuffle(builder, c, zero, range(2 * LANES))
    for part in range(_QUAD):
        lanes = [
            2 * LANES * (plane // 2) + LANES * (plane % 2) + x
            for x in range(4 * part, 4 * part + 4)
            for plane in range(4)
        ]
        _store(builder, data, builder.add(i, i.type(LANES * part)), _shuffle(builder, ab, c0, lanes))


@_operation(types.UniTuple(_LANES, 3), None, types.intp)
def load_interleaved(builder: Any, data: Any, i: Any) -> Any:
    """(array, i): (a, b, c) as `store_interleaved` wrote them."""
    parts = [_load(builder, data, builder.add(i, i.type(LANES * part)), _VECTOR) for part in range(_QUAD)]
    low, high = (_shuffle(builder, parts[s], parts[s + 1], range(2 * LANES)) for s in (0, 2))
    return tuple(_shuffle(builder, low, high, range(plane, 4 * LANES, 4)) for plane in range(3))
