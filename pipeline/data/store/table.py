"""Rows of one frozen dataclass as a Parquet file, and back; every catalog is stored so."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), tuple[str, ...]: pa.list_(pa.string())}


def schema_of(row: type) -> Any:
    """Return the Arrow schema of a dataclass with text, whole numbers, numbers and tuples of texts."""
    kinds = get_type_hints(row)
    return pa.schema([(field.name, _ARROW[kinds[field.name]]) for field in fields(row)])


def to_parquet(rows: Sequence[Any], schema: Any) -> bytes:
    """Return rows as a Parquet file; the same rows are the same bytes.

    Args:
        rows: of one dataclass.
        schema: its `schema_of`.
    """
    columns = [pa.array([getattr(row, field.name) for row in rows], type=field.type) for field in schema]
    file = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), file, compression="zstd")
    return file.getvalue()


def from_parquet(data: bytes, schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the values of each row of a Parquet file that `to_parquet` wrote, by the names of the dataclass's fields.

    Raises:
        ValueError: the bytes are something else.
    """
    table = pq.read_table(pa.BufferReader(data))
    if table.schema != schema:
        raise ValueError(f"the columns are {table.schema.names}")
    names, columns = schema.names, [_values(table.column(field.name), field.type) for field in schema]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _values(column: Any, kind: Any) -> list[Any]:
    # By way of NumPy, which makes Python's values several times faster than Arrow does.
    values: list[Any] = column.to_numpy().tolist()
    return [tuple(value) for value in values] if pa.types.is_list(kind) else values
