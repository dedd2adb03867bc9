"""Routes of the people who annotate: session, campaigns, leases, items and their pictures."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as FromPath

from pipeline.annotate import answers, people, queue, views
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.operations import once
from pipeline.annotate.people import Person
from pipeline.annotate.schema import (
    MAX_FRAMES,
    Campaign,
    Claim,
    Claimed,
    Lease,
    Me,
    Preferences,
    Progress,
    Session,
    SignIn,
    Tab,
)
from pipeline.annotate.schema_items import DraftIn, Flag, Item, Saved, Submitted, WhatIf, WhatIfAnswer
from pipeline.annotate.service import (
    COOKIE,
    VERSION,
    Anyone,
    Here,
    LeaseHeader,
    OperationHeader,
    Service,
    UidPath,
    VersionHeader,
    Visitor,
)
from pipeline.annotate.tables import campaigns

router = APIRouter()
FOR_EVER = "private, max-age=31536000, immutable"
REPLAYED = "Operation-Replayed"
TabQuery = Annotated[str, Query(pattern=r"^[A-Za-z0-9_-]{0,64}$")]
WidthQuery = Annotated[int, Query(ge=0, le=4096)]
ContentQuery = Annotated[str, Query(pattern=r"^[0-9a-f]{0,64}$")]
FrameIndex = Annotated[int, FromPath(ge=0, lt=MAX_FRAMES)]


@router.get("/session")
def who(visitor: Visitor) -> Session:
    """Say who is signed in; nobody is no error."""
    return Session(me=visitor.me() if visitor else None, editor=VERSION)


@router.post("/session")
def sign_in(wish: SignIn, request: Request, response: Response, service: Here) -> Me:
    """Exchange an invitation for a session cookie."""
    now, address = service.database.clock(), request.client.host if request.client else ""
    service.attempts.check(address, now)
    try:
        with service.database.write() as connection:
            token, person = people.sign_in(connection, now, wish.token, service.session_s)
    except RefusedError:
        service.attempts.failed(address, now)
        raise
    response.set_cookie(
        COOKIE, token, max_age=30 * 86_400, path="/", secure=service.secure, httponly=True, samesite="strict"
    )
    return person.me()


@router.patch("/session")
def prefer(wish: Preferences, person: Anyone, service: Here) -> Me:
    """Change the language or the page's settings."""
    with service.database.write() as connection:
        return people.prefer(connection, person, wish)


@router.delete("/session", status_code=204)
def sign_out(request: Request, response: Response, visitor: Visitor, service: Here) -> None:
    """End the session."""
    if visitor is not None:
        with service.database.write() as connection:
            people.sign_out(connection, service.database.clock(), visitor, request.cookies[COOKIE])
    response.delete_cookie(COOKIE, path="/", secure=service.secure, httponly=True, samesite="strict")


@router.get("/campaigns")
def all_campaigns(person: Anyone, service: Here) -> list[Campaign]:
    """List the campaigns, the newest first."""
    with service.database.read() as connection:
        whatif = service.whatif is not None
        return views.campaigns_for(connection, service.database.clock(), whatif=whatif)


@router.get("/campaigns/{campaign}/progress")
def progress(campaign: UidPath, person: Anyone, service: Here) -> Progress:
    """Say how far a campaign is."""
    with service.database.read() as connection:
        return views.progress(connection, service.database.clock(), person, campaign)


@router.get("/leases")
def my_leases(person: Anyone, service: Here) -> list[Lease]:
    """List one's own living leases."""
    with service.database.read() as connection:
        return queue.leases_of(connection, service.database.clock(), person.id)


@router.post("/leases")
def claim(wish: Claim, operation: OperationHeader, response: Response, person: Anyone, service: Here) -> Claimed:
    """Claim the next item."""
    now = service.database.clock()
    answer, replayed = once(
        service.database,
        person.id,
        operation,
        "claim",
        wish.model_dump(),
        lambda connection: queue.claim(connection, now, person, wish),
        Claimed,
    )
    _mark(response, replayed)
    return answer


def _mark(response: Response, replayed: bool) -> None:
    if replayed:
        response.headers[REPLAYED] = "true"


def _same_lease(lease: str, token: str) -> None:
    if token.rpartition(".")[0] != lease:
        raise RefusedError("lease_gone", "the token is that of another lease", holder="other")


@router.post("/leases/{lease}/renew")
def renew(lease: UidPath, token: LeaseHeader, person: Anyone, service: Here) -> Lease:
    """Let a lease end later."""
    _same_lease(lease, token)
    with service.database.write() as connection:
        return queue.renew(connection, service.database.clock(), person.id, token)


@router.post("/leases/{lease}/takeover")
def takeover(lease: UidPath, wish: Tab, person: Anyone, service: Here) -> Lease:
    """Move a lease to this tab, or revive a lapsed one."""
    with service.database.write() as connection:
        return queue.takeover(connection, service.database.clock(), person.id, lease, wish.tab)


@router.delete("/leases/{lease}", status_code=204)
def release(lease: UidPath, token: LeaseHeader, person: Anyone, service: Here) -> None:
    """Give an item back."""
    _same_lease(lease, token)
    with service.database.write() as connection:
        queue.release(connection, service.database.clock(), person.id, token)


@router.get("/items/{uid}")
def item(uid: UidPath, person: Anyone, service: Here, tab: TabQuery = "") -> Item:
    """Return all that the page needs to show an item."""
    with service.database.read() as connection:
        whatif = service.whatif is not None
        return views.item_for(connection, service.database.clock(), person, uid, tab, whatif=whatif)


def _row(service: Service, person: Person, uid: str) -> Any:
    with service.database.read() as connection:
        return views.may_see(connection, person, uid)


def _width(width: int) -> int:
    if width not in (0, *views.WIDTHS):
        raise RefusedError("not_found", f"pictures come in widths {', '.join(map(str, views.WIDTHS))}")
    return width


def _picture(data: bytes, content: str, row: Any) -> Response:
    caching = FOR_EVER if content == row.content else "private, no-cache"
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": caching})


JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}


# Run on the event loop, which waits for the picture without holding a thread; the look-up is a read of some 100 us.
@router.get("/items/{uid}/frames/{index}.jpg", response_class=Response, responses=JPEG)
async def frame(
    uid: UidPath, index: FrameIndex, person: Anyone, service: Here, w: WidthQuery = 0, v: ContentQuery = ""
) -> Response:
    """Return one frame as JPEG."""
    row = _row(service, person, uid)
    return _picture(await service.pictures.frame(row, index, _width(w)), v, row)


@router.get("/items/{uid}/strip.jpg", response_class=Response, responses=JPEG)
async def strip(uid: UidPath, person: Anyone, service: Here, w: WidthQuery = 112, v: ContentQuery = "") -> Response:
    """Return all frames in one JPEG."""
    row = _row(service, person, uid)
    return _picture(await service.pictures.strip(row, _width(w)), v, row)


@router.put("/items/{uid}/draft")
def save(
    uid: UidPath,
    answer: DraftIn,
    operation: OperationHeader,
    version: VersionHeader,
    token: LeaseHeader,
    response: Response,
    person: Anyone,
    service: Here,
) -> Saved:
    """Keep a draft."""
    now, holds = service.database.clock(), int(version.strip('"'))
    saved, replayed = once(
        service.database,
        person.id,
        operation,
        "save",
        {"item": uid, "version": holds, "answer": answer.model_dump()},
        lambda connection: answers.save(connection, now, person.id, uid, token, holds, answer),
        Saved,
    )
    _mark(response, replayed)
    return saved


@router.post("/items/{uid}/submit")
def submit(
    uid: UidPath,
    answer: DraftIn,
    operation: OperationHeader,
    version: VersionHeader,
    token: LeaseHeader,
    response: Response,
    person: Anyone,
    service: Here,
) -> Submitted:
    """Save a last time and finish."""
    now, holds = service.database.clock(), int(version.strip('"'))
    submitted, replayed = once(
        service.database,
        person.id,
        operation,
        "submit",
        {"item": uid, "version": holds, "answer": answer.model_dump()},
        lambda connection: answers.submit(connection, now, person.id, uid, token, holds, answer),
        Submitted,
    )
    _mark(response, replayed)
    return submitted


@router.post("/items/{uid}/flag")
def flag(
    uid: UidPath,
    wish: Flag,
    operation: OperationHeader,
    token: LeaseHeader,
    response: Response,
    person: Anyone,
    service: Here,
) -> Submitted:
    """Say that an item cannot be annotated."""
    now = service.database.clock()
    flagged, replayed = once(
        service.database,
        person.id,
        operation,
        "flag",
        {"item": uid, **wish.model_dump()},
        lambda connection: answers.flag(connection, now, person.id, uid, token, wish),
        Submitted,
    )
    _mark(response, replayed)
    return flagged


@router.post("/items/{uid}/whatif")
async def whatif(uid: UidPath, wish: WhatIf, person: Anyone, service: Here) -> WhatIfAnswer:
    """Say what the network would answer under this attention."""
    row = _row(service, person, uid)
    if service.whatif is None:
        raise RefusedError("not_found", "no network is loaded")
    if len(wish.scores) != row.num_frames:
        raise RefusedError("length", f"the video has {row.num_frames} frames, the question {len(wish.scores)}")
    with service.database.read() as connection:
        facts = connection.execute(sa.select(campaigns.c.facts).where(campaigns.c.id == row.campaign)).scalar_one()
    return await service.whatif.ask(person.id, row, wish.scores, facts["classes"])
