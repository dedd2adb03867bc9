"""The HTTP service. JSON below /api/v1; the page's files at /; its shapes are `schema` and `schema_admin`.

Session (anybody)
  GET    /session                       -> Session: `me` is null when signed out, so asking leaves no console error
  POST   /session                       SignIn -> Me: sets the cookie. The link serves again until it expires (14 days)
                                        or is revoked: a person whose session ended signs in with it again
  PATCH  /session                       Preferences -> Me
  DELETE /session                       -> 204
Campaigns (signed in)
  GET    /campaigns                     -> list[Campaign]
  GET    /campaigns/{campaign}/progress -> Progress: people see themselves, reviewers everybody. Poll it every 15 s
  GET    /campaigns/{campaign}/items?state=&label=&after=  -> Items: reviewers
Leases
  GET    /leases                        -> list[Lease]: one's own, alive; the tokens are empty
  POST   /leases                        Claim -> Claimed [Operation-Id]. Claim a second one to fetch the next clip ahead
  POST   /leases/{lease}/renew          -> Lease [Lease-Token]: every 60 s; a save renews as well
  POST   /leases/{lease}/takeover       Tab -> Lease: the same person in another tab; the old tab then gets 423
  DELETE /leases/{lease}                -> 204 [Lease-Token]: gives the item back, drafts stay. Gone already: 204 too
Items (who holds it, answered it, or gets it as an example; reviewers)
  GET    /items/{uid}?tab=              -> Item
  GET    /items/{uid}/frames/{index}.jpg?w=&v=  -> JPEG: frame `index` as training decodes it; no w: stored size
  GET    /items/{uid}/strip.jpg?w=&v=   -> JPEG: all frames in one picture
  PUT    /items/{uid}/draft             DraftIn -> Saved [Operation-Id, If-Match, Lease-Token]; 409, 423
  POST   /items/{uid}/submit            DraftIn -> Submitted [the same]: saves and finishes in one step; ends the lease
  POST   /items/{uid}/flag              Flag -> Submitted [Operation-Id, Lease-Token]: ends the lease
  POST   /items/{uid}/whatif            WhatIf -> WhatIfAnswer; 404 where no network is loaded
  POST   /items/{uid}/review            Review -> ListedItem: reviewers
Batches, record, people
  POST   /batches                       Seal -> Sealed: admins; does again what a killed seal left
  GET    /batches                       -> list[BatchRow]: reviewers
  GET    /batches/{batch}/manifest      -> the manifest's bytes as sealed: reviewers
  GET    /audit?after=&limit=           -> Audit: admins
  GET    /users                         -> list[UserRow]: admins
  POST   /users                         Invite -> Invitation: admins
  PATCH  /users/{user}                  UserChange -> UserRow: admins
  POST   /users/{user}/invitation       -> Invitation: admins; revokes older invitations
  DELETE /users/{user}/invitation       -> 204: admins; revokes them, sessions go on
Outside /api/v1
  GET    /api/v1/openapi.json, /healthz, /readyz, /metrics (Prometheus text), / and the page's files (no cookie needed)

Headers. `Operation-Id`: the client's own, ^[A-Za-z0-9_-]{8,64}$, a UUID say; new for each intent, the same for its
repetitions, whose answer carries `Operation-Replayed: true`. `If-Match: "<version>"`, quotes optional. `Lease-Token`:
of the lease. Pictures with v = the item's content may be cached for ever. An unsafe request must come from the
service's own page: browsers prove it by Sec-Fetch-Site or Origin; clients that are no browsers send neither. From 400
on the body is a `Problem`; test its code, listed in `errors`. A clip whose lease lapsed is offered to the author of its
draft first, and the draft is in the Item.
"""

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from pipeline.annotate import routes_admin, routes_work
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.schema_admin import Health
from pipeline.annotate.schema_items import Problem
from pipeline.annotate.security import Guard, refusal
from pipeline.annotate.service import VERSION, Here, Service
from pipeline.core.database import UnreachedError

API = "/api/v1"
PAGE = Path(__file__).parent / "page"
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 405, 409, 413, 422, 423, 429, 503)
}


def create_app(service: Service, page: Path = PAGE) -> FastAPI:
    """Return the service as an ASGI application; it closes what it holds when it ends."""

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        with service.database.tended():
            yield
        if service.whatif is not None:
            service.whatif.close()
        service.pictures.close()
        service.database.close()

    app = FastAPI(
        title="STAR annotation",
        version=VERSION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=life,
    )
    app.state.service = service
    for router in (routes_work.router, routes_admin.router):
        app.include_router(router, prefix=API, responses=PROBLEMS)
    _operations(app)
    app.mount("/", _Page(directory=page, html=True))
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    for fault in (UnreachedError, sa.exc.OperationalError, sa.exc.TimeoutError):
        app.add_exception_handler(fault, _unreached)
    app.add_middleware(Guard, hsts=service.secure, measured=service.meter.add)
    return app


class _Page(StaticFiles):
    """The page's files, asked for again with every visit so that an update reaches people; unchanged ones cost 304."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _operations(app: FastAPI) -> None:
    @app.get("/healthz")
    def healthz() -> Health:
        """The process answers."""
        return Health(status="ok")

    @app.get("/readyz", responses={503: {"model": Problem}})
    def readyz(service: Here) -> Health:
        """The database answers."""
        try:
            with service.database.read() as connection:
                connection.execute(sa.text("SELECT 1"))
        except (UnreachedError, sa.exc.SQLAlchemyError) as error:
            raise RefusedError("busy", "the database does not answer", retry_after_s=5) from error
        return Health(status="ok")

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics(service: Here) -> str:
        """Counts in Prometheus's text format."""
        return "\n".join([*service.meter.text(), *service.gauges(), ""])


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return refusal(error.problem, error.status, error.retry_after_s)


def _unreached(_: Request, error: Exception) -> Response:
    """The database is locked, restarting or out of connections; whether something was done the repetition will tell."""
    logging.getLogger("uvicorn.error").error("the database does not answer", exc_info=error)
    return refusal(Problem(code="busy", message="the database does not answer"), 503, retry_after_s=1)


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = error.errors()
    message = "; ".join(str(one["msg"]) for one in wrong[:3])
    fields = [".".join(map(str, one["loc"])) for one in wrong[:20]]
    return refusal(Problem(code="invalid", message=message, fields=fields), 422)


def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "not_allowed"}.get(error.status_code, "invalid")
    answer = refusal(Problem(code=code, message=str(error.detail)), error.status_code)
    answer.headers.update(error.headers or {})
    return answer
