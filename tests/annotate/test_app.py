"""The service (pipeline/annotate/routes_work.py, pipeline/annotate/routes_admin.py) seen from outside."""

import contextlib
import sqlite3

from pipeline.annotate import app as application
from pipeline.annotate.errors import STATUS
from pipeline.core import database as store


def test_a_clip_from_claim_to_batch(site, token, visit, body_of):
    address, campaign = site(double_share=0.0)
    page, admin = visit(address, token()), visit(address, token("admin", "Eva"))
    lease = page.claim(campaign)
    item = page.get(f"/items/{lease['item']}?tab=tab").json()
    assert item["lease"]["token"] == lease["token"]
    assert page.get(f"/items/{lease['item']}?tab=other").json()["lease"]["token"] == ""
    path, frames = f"/items/{item['uid']}", item["num_frames"]
    assert len(item["attention"]) == frames
    draft = {"json": body_of(frames), "lease": lease["token"], "version": 0}
    first = page.send("PUT", f"{path}/draft", operation="operation-1", **draft)
    assert first.json()["version"] == 1
    again = page.send("PUT", f"{path}/draft", operation="operation-1", **draft)
    assert again.json() == first.json()
    assert again.headers["operation-replayed"] == "true"
    stale = page.send("PUT", f"{path}/draft", operation="operation-2", **draft)
    assert (stale.status_code, stale.json()["draft"]["version"]) == (409, 1)
    unset = body_of(frames) | {"scores": [None] * frames, "sources": [None] * frames}
    answer = page.send("POST", f"{path}/submit", operation="operation-3", **(draft | {"json": unset, "version": 1}))
    assert (answer.json()["code"], answer.json()["frames"]) == ("unset_frames", list(range(frames)))
    final = draft | {"version": 1}
    done = page.send("POST", f"{path}/submit", operation="operation-4", **final)
    assert done.json() == {"state": "resolved", "comparison": None}
    replay = page.send("POST", f"{path}/submit", operation="operation-4", **final)
    assert replay.json() == done.json()
    assert replay.headers["operation-replayed"] == "true"
    assert page.get(f"/campaigns/{campaign}/progress").json()["done"] == 1
    assert page.get("/campaigns").json()[0]["classes"][item["label"]["label"]]["resolved"] == 1
    assert admin.get(f"/campaigns/{campaign}/items?state=resolved").json()["items"][0]["uid"] == item["uid"]
    assert page.send("POST", f"{path}/review", json={"decision": "accept"}).status_code == 403
    assert admin.send("POST", f"{path}/review", json={"decision": "accept"}).json()["state"] == "resolved"
    sealed = admin.send("POST", "/batches", json={"campaign": campaign}).json()
    assert sealed["manifest"]["items"] == 1
    assert admin.get(f"/batches/{sealed['batch']}/manifest").json() == sealed["manifest"]
    assert admin.get("/batches").json()[0] | {"sealed": 0} == {
        "id": sealed["batch"],
        "campaign": campaign,
        "sequence": 1,
        "items": 1,
        "sealed": 0,
        "published": True,
    }
    assert admin.send("POST", "/batches", json={"campaign": campaign}).json() == {"batch": "", "manifest": None}
    record = admin.get("/audit?after=2").json()
    assert record["intact"]
    assert record["rows"][-1]["action"] == "seal"


def test_people_see_their_own_progress_and_reviewers_everybodys(site, token, visit, body_of):
    address, campaign = site(double_share=0.0)
    ada, eva = visit(address, token()), visit(address, token("reviewer", "Eva"))
    lease = ada.claim(campaign)
    frames = ada.get(f"/items/{lease['item']}").json()["num_frames"]
    submit = {"json": body_of(frames, seconds=9), "lease": lease["token"], "version": 0}
    ada.send("POST", f"/items/{lease['item']}/submit", operation="operation-1", **submit)
    flagged = ada.claim(campaign)
    path = f"/items/{flagged['item']}/flag"
    wish = {"reason": "wrong_label", "note": "it turns\nthe other way"}
    assert (
        ada.send("POST", path, operation="operation-2", lease=flagged["token"], json=wish).json()["state"] == "flagged"
    )
    own = ada.get(f"/campaigns/{campaign}/progress").json()["people"]
    assert [(one["name"], one["done"], one["flagged"], one["median_s"]) for one in own] == [("Ada", 1, 1, 9.0)]
    everybody = eva.get(f"/campaigns/{campaign}/progress").json()["people"]
    assert sorted(one["name"] for one in everybody) == ["Ada", "Eva"]


def test_operations(site, token, visit):
    address, campaign = site()
    page = visit(address, token())
    lease = page.claim(campaign)
    page.get(f"/items/{lease['item']}")
    for path in ("/healthz", "/readyz"):
        assert page.http.get(path).json() == {"status": "ok"}
    lines = page.http.get("/metrics").text.splitlines()
    assert 'star_requests_total{method="GET",route="/items/{uid}",status="200"} 1' in lines
    assert f'star_items{{campaign="{campaign}",state="open"}} 24' in lines
    assert "star_leases 1" in lines
    assert lease["item"] not in "\n".join(lines)


def test_the_document_names_every_path_of_the_table(site, visit):
    address, _ = site()
    document = visit(address).get("/openapi.json").json()
    table = application.__doc__
    for path, verbs in document["paths"].items():
        short = path.removeprefix("/api/v1")
        for verb in verbs:
            assert f"{verb.upper():6} {short}" in table or short in ("/healthz", "/readyz", "/metrics")


def test_mistakes_have_codes(site, token, visit):
    address, campaign = site()
    page = visit(address, token())
    wrong = page.send("POST", "/leases", operation="operation-1", json={"campaign": "a/b", "tab": "tab", "x": 1})
    assert wrong.status_code == STATUS["invalid"]
    assert sorted(wrong.json()["fields"]) == ["body.campaign", "body.x"]
    assert page.send("PUT", "/campaigns").json()["code"] == "not_allowed"
    assert page.get("/campaigns/none/progress").json()["code"] == "not_found"
    lease = page.claim(campaign)
    other = {"lease": "other.1"}
    assert page.send("POST", f"/leases/{lease['id']}/renew", **other).json()["code"] == "lease_gone"
    assert page.send("DELETE", f"/leases/{lease['id']}", lease=lease["token"]).status_code == 204
    assert page.get("/leases").json() == []


def test_a_locked_database_is_answered_as_busy_and_the_repetition_is_done(site, token, visit, lite, monkeypatch):
    """The page keeps the operation and sends it again after a 503, as after a lost connection."""
    monkeypatch.setattr(store, "BUSY_MS", 50)
    lite.engine.dispose()  # connections made from now on wait that long
    address, campaign = site()
    page = visit(address, token())
    wish = {"operation": "operation-1", "json": {"campaign": campaign, "tab": "tab"}}
    with contextlib.closing(sqlite3.connect(lite.url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = page.send("POST", "/leases", **wish)
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert int(answer.headers["retry-after"]) > 0
    assert page.send("POST", "/leases", **wish).json()["lease"]["item"]
