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
Outside /api/v1
  GET    /api/v1/openapi.json, /healthz, /readyz, /metrics (Prometheus text), / and the page's files (no cookie needed)

Headers. `Operation-Id`: the client's own, ^[A-Za-z0-9_-]{8,64}$, a UUID say; new for each intent, the same for its
repetitions, whose answer carries `Operation-Replayed: true`. `If-Match: "<version>"`, quotes optional. `Lease-Token`:
of the lease. Pictures with v = the item's content may be cached for ever. An unsafe request must come from the
service's own page: browsers prove it by Sec-Fetch-Site or Origin; clients that are no browsers send neither. From 400
on the body is a `Problem`; test its code, listed in `errors`. A clip whose lease lapsed is offered to the author of its
draft first, and the draft is in the Item.
"""
