"""Every way in which the annotation service says no.

| code | status | when |
|---|---|---|
| invalid | 422 | the request does not have the declared shape; `fields` says where |
| length | 422 | scores are not as many as the video has frames, or spatial maps without the layer |
| unset_frames | 422 | submitted while frames have no level; `frames` lists them |
| operation_reused | 422 | an Operation-Id came back with another request |
| signed_out | 401 | no session, or it ended; sign in again and repeat, the work is not lost |
| bad_invitation | 403 | no such invitation, expired or revoked |
| forbidden | 403 | the role does not allow it, or the item was never this person's |
| cross_site | 403 | a request that another site's page made |
| not_found | 404 | no such campaign, item, frame, lease, batch or user |
| finished | 409 | the answer was submitted or the item sealed; nothing can be written |
| stale | 409 | If-Match is not the version that the server holds; `draft` is what it holds |
| conflict | 409 | the state does not allow it |
| not_allowed | 405 | the path has no such verb |
| too_large | 413 | a body over 1 MiB |
| lease_gone | 423 | the lease lapsed or went to another tab or person; `holder` says to whom |
| slow_down | 429 | too many sign-ins or what-ifs; Retry-After says when |
| busy | 503 | the picture or what-if queue is full, or the database does not answer; Retry-After says when |
"""

from pipeline.annotate.schema_items import Draft, Problem

STATUS = {
    "invalid": 422,
    "length": 422,
    "unset_frames": 422,
    "operation_reused": 422,
    "signed_out": 401,
    "bad_invitation": 403,
    "forbidden": 403,
    "cross_site": 403,
    "not_found": 404,
    "finished": 409,
    "stale": 409,
    "conflict": 409,
    "not_allowed": 405,
    "too_large": 413,
    "lease_gone": 423,
    "slow_down": 429,
    "busy": 503,
}


class RefusedError(Exception):
    """The service says no; becomes a `Problem` with the status of its code."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        frames: list[int] | None = None,
        draft: Draft | None = None,
        holder: str = "",
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status = STATUS[code]
        self.retry_after_s = retry_after_s
        self.problem = Problem(code=code, message=message, frames=frames or [], draft=draft, holder=holder)
