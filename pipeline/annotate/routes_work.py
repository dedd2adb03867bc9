"""Routes of the people who annotate: session, campaigns, leases, items and their pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi import Path as FromPath

from pipeline.annotate import answers, people, queue, views
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.operations import once
from pipeline.annotate.people import Person
from pipeline.annotate.schema import (
    MAX_FRAMES,
    Answer,
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


A = TypeVar("A", bound=Answer)


@dataclass(frozen=True)
class Write:
    """A request that changes the store once, however often it is repeated."""

    service: Service
    person: Person
    operation: str
    response: Response
    uid: str = ""
    token: str = ""

    def once(
        self, kind: str, request: dict[str, Any], act: Callable[..., tuple[A, int | None]], answer_type: type[A]
    ) -> A:
        """Carry out `act(connection, now)`, or answer what it answered before and say so in the header."""
        now = self.service.database.clock()
        answer, replayed = once(
            self.service.database,
            self.person.id,
            self.operation,
            kind,
            request,
            lambda connection: act(connection, now),
            answer_type,
        )
        if replayed:
            self.response.headers[REPLAYED] = "true"
        return answer

    def whole_answer(
        self,
        kind: str,
        answer: DraftIn,
        version: str,
        act: Callable[..., tuple[A, int | None]],
        answer_type: type[A],
    ) -> A:
        """Carry out `act` with an answer that continues a version of the draft."""
        holds = int(version.strip('"'))
        request = {"item": self.uid, "version": holds, "answer": answer.model_dump()}
        told = {"user": self.person.id, "uid": self.uid, "token": self.token, "version": holds, "answer": answer}
        return self.once(kind, request, partial(act, **told), answer_type)


async def _item_write(
    uid: UidPath, operation: OperationHeader, token: LeaseHeader, response: Response, person: Anyone, service: Here
) -> Write:
    return Write(service, person, operation, response, uid, token)


ItemWrite = Annotated[Write, Depends(_item_write)]


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
    write = Write(service, person, operation, response)
    return write.once("claim", wish.model_dump(), partial(queue.claim, person=person, wish=wish), Claimed)


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
def save(answer: DraftIn, version: VersionHeader, write: ItemWrite) -> Saved:
    """Keep a draft."""
    return write.whole_answer("save", answer, version, answers.save, Saved)


@router.post("/items/{uid}/submit")
def submit(answer: DraftIn, version: VersionHeader, write: ItemWrite) -> Submitted:
    """Save a last time and finish."""
    return write.whole_answer("submit", answer, version, answers.submit, Submitted)


@router.post("/items/{uid}/flag")
def flag(wish: Flag, write: ItemWrite) -> Submitted:
    """Say that an item cannot be annotated."""
    act = partial(answers.flag, user=write.person.id, uid=write.uid, token=write.token, wish=wish)
    return write.once("flag", {"item": write.uid, **wish.model_dump()}, act, Submitted)


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
