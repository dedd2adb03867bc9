"""Doing a thing once, however often a client asks for it.

A client names what it wants by an operation id and repeats the request until it hears an answer. The first one is
carried out and its answer kept, in the same transaction; a repetition gets that answer.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate.database import Database
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.schema import Answer
from pipeline.annotate.tables import operations
from pipeline.core import storage

A = TypeVar("A", bound=Answer)


def once(
    database: Database,
    user: str,
    operation: str,
    kind: str,
    request: dict[str, Any],
    act: Callable[[Connection], tuple[A, int | None]],
    answer_type: type[A],
) -> tuple[A, bool]:
    """Carry out `act`, or return what it answered when it was carried out before.

    Args:
        database: the store.
        user: whose operation; ids of different people do not meet.
        operation: the client's id.
        kind: what is asked.
        request: all that the answer may depend on; JSON values.
        act: does it in the transaction that it is given, and returns the answer and the task that it was about.
        answer_type: what `act` answers.

    Returns:
        The answer, and whether it is a repetition.

    Raises:
        RefusedError: whatever `act` refuses, which is not kept; or operation_reused.
    """
    fingerprint = storage.sha256_json([kind, request])
    for last in (False, True):
        try:
            with database.write() as connection:
                where = (operations.c.user == user) & (operations.c.operation == operation)
                found = connection.execute(sa.select(operations).where(where)).first()
                if found is not None:
                    if found.fingerprint != fingerprint:
                        raise RefusedError("operation_reused", "this Operation-Id stood for another request")
                    return answer_type(**found.answer), True
                answer, task = act(connection)
                connection.execute(
                    operations.insert().values(
                        user=user,
                        operation=operation,
                        kind=kind,
                        fingerprint=fingerprint,
                        task=task,
                        request=request,
                        answer=answer.model_dump(),
                        at=database.clock(),
                    )
                )
                return answer, False
        except (sa.exc.IntegrityError, RefusedError) as error:
            # PostgreSQL runs two copies of a request side by side: the later one fails on what the earlier one has
            # changed, and finds its answer on the second look.
            if last or database.sqlite or (isinstance(error, RefusedError) and not _done(database, user, operation)):
                raise
    raise AssertionError("the second look returns or raises")


def _done(database: Database, user: str, operation: str) -> bool:
    with database.read() as connection:
        where = (operations.c.user == user) & (operations.c.operation == operation)
        return connection.execute(sa.select(operations.c.kind).where(where)).first() is not None
