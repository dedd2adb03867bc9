"""The service (pipeline/annotate/routes_work.py, pipeline/annotate/routes_admin.py) seen from outside."""

import contextlib
import io
import shutil
import uuid
from pathlib import Path
from typing import ClassVar

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from pipeline.annotate import app as application
from pipeline.annotate import audit, people
from pipeline.annotate.errors import STATUS
from pipeline.annotate.frames import Pictures
from pipeline.annotate.importing import item_uid
from pipeline.annotate.security import BODY_BYTES, POLICY
from pipeline.annotate.service import COOKIE
from pipeline.annotate.tables import campaigns
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import decode_frames, read_video


class Page:
    """A signed-in browser, near enough."""

    opened: ClassVar[list[httpx.Client]] = []

    def __init__(self, address, token=""):
        self.http = httpx.Client(base_url=address, headers={"Host": "star.test"}, verify=False, timeout=60)
        self.opened.append(self.http)
        self.headers = {"Sec-Fetch-Site": "same-origin"}
        if token:
            assert self.send("POST", "/session", json={"token": token}).status_code == 200

    def send(self, method, path, operation=None, version=None, lease=None, **values):
        headers = {**self.headers, **values.pop("headers", {})}
        headers |= {"Operation-Id": operation} if operation else {}
        headers |= {"If-Match": f'"{version}"'} if version is not None else {}
        headers |= {"Lease-Token": lease} if lease else {}
        return self.http.request(method, f"/api/v1{path}", headers=headers, **values)

    def get(self, path, **values):
        return self.send("GET", path, **values)

    def claim(self, campaign, tab="tab", **wish):
        wish = {"campaign": campaign, "tab": tab, **wish}
        return self.send("POST", "/leases", operation=uuid.uuid4().hex, json=wish).json()["lease"]


class Guess:
    """A network whose answer shows which attention it was given."""

    def __init__(self):
        self.asked = 0

    def scores(self, video, window, attention_V):
        self.asked += 1
        mean = 0.1 if attention_V is None else float(attention_V.mean())
        return np.array([mean, 0.4, 0.6 - mean])


@pytest.fixture
def site(lite, loaded, serve):
    """A function that serves a store with a campaign, and returns the address and the campaign's id."""
    with contextlib.ExitStack() as stack:

        def make(whatif=None, service=None, **settings):
            campaign = loaded(lite, **settings)
            return stack.enter_context(serve(lite, whatif=whatif, **(service or {}))).address, campaign

        yield make
        while Page.opened:
            Page.opened.pop().close()


@pytest.fixture
def token(lite):
    """A function that invites somebody and returns the token."""

    def invite(role="annotator", name="Ada"):
        with lite.write() as connection:
            return people.invite(connection, lite.clock(), "system", name, role).token

    return invite


def body_of(frames, level=0.5, **values):
    return {"scores": [level] * frames, "sources": ["human"] * frames, "init": "blank", "seconds": 1, **values}


def test_signing_in_and_out(site, token, lite):
    address, _ = site()
    page, invitation = Page(address), token()
    assert page.get("/session").json() == {"me": None, "editor": "1"}
    assert page.get("/campaigns").json()["code"] == "signed_out"
    answer = page.send("POST", "/session", json={"token": invitation})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie
    assert answer.json()["role"] == "annotator"
    assert page.get("/session").json()["me"]["name"] == "Ada"
    settings = {"keys": "vi"}
    assert page.send("PATCH", "/session", json={"language": "ja", "settings": settings}).status_code == 200
    assert page.get("/session").json()["me"]["language"] == "ja"
    assert page.get("/session").json()["me"]["settings"] == settings
    stolen = page.http.cookies[COOKIE]
    assert page.send("DELETE", "/session").status_code == 204
    page.http.cookies.set(COOKIE, stolen)
    assert page.get("/campaigns").status_code == 401
    assert Page(address, invitation).get("/campaigns").status_code == 200  # the link still serves
    with lite.read() as connection:
        actions = [row.action for row in audit.read(connection)]
    assert actions == ["import", "invite", "sign_in", "sign_out", "sign_in"]


def test_tokens_are_not_in_the_store(site, token, lite):
    address, _ = site()
    invitation = token()
    page = Page(address, invitation)
    data = b"".join(path.read_bytes() for path in Path(lite.url.database).parent.iterdir())
    assert b"Ada" in data
    assert invitation.encode() not in data
    assert page.http.cookies[COOKIE].encode() not in data


def test_a_session_ends_unless_it_is_used(site, token, lite):
    address, campaign = site(service={"session_s": 1000.0})
    page = Page(address, token())
    for _ in range(3):
        lite.clock.now += 900
        assert page.get("/campaigns").status_code == 200
    lite.clock.now += 1001
    answer = page.claim(campaign) if page.get("/campaigns").status_code == 200 else None
    assert answer is None
    assert page.get("/campaigns").json()["code"] == "signed_out"


def test_guessing_tokens_is_slowed_down(site, token, lite):
    address, _ = site()
    page, guess = Page(address), {"json": {"token": "x" * 43}}
    codes = [page.send("POST", "/session", **guess).json()["code"] for _ in range(12)]
    assert codes == ["bad_invitation"] * 10 + ["slow_down"] * 2
    late = page.send("POST", "/session", json={"token": token()})
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 0
    lite.clock.now += 61
    assert page.send("POST", "/session", json={"token": token()}).status_code == 200


def test_people_who_leave_are_out_at_once(site, token):
    address, campaign = site()
    page, admin = Page(address, token()), Page(address, token("admin", "Eva"))
    lease = page.claim(campaign)
    user = page.get("/session").json()["me"]["id"]
    changed = admin.send("PATCH", f"/users/{user}", json={"active": False}).json()
    assert (changed["active"], changed["name"]) == (False, "Ada")
    assert page.get("/campaigns").status_code == 401
    assert Page(address, token(name="Ben")).claim(campaign)["item"] == lease["item"]
    me = admin.get("/session").json()["me"]["id"]
    assert admin.send("PATCH", f"/users/{me}", json={"role": "annotator"}).json()["code"] == "conflict"
    assert admin.send("PATCH", "/users/nobody", json={"active": False}).json()["code"] == "not_found"
    assert admin.send("POST", "/users/nobody/invitation").json()["code"] == "not_found"
    again = admin.send("POST", f"/users/{user}/invitation").json()
    assert admin.send("PATCH", f"/users/{user}", json={"active": True}).status_code == 200
    assert Page(address).send("POST", "/session", json={"token": again["token"]}).status_code == 200


@pytest.mark.parametrize(
    ("role", "may"),
    [("annotator", set()), ("reviewer", {"items", "batches"}), ("admin", {"items", "batches", "audit", "users"})],
)
def test_roles(site, token, role, may):
    address, campaign = site()
    page = Page(address, token(role))
    paths = {"items": f"/campaigns/{campaign}/items", "batches": "/batches", "audit": "/audit", "users": "/users"}
    assert {name for name, path in paths.items() if page.get(path).status_code == 200} == may
    sealed = page.send("POST", "/batches", json={"campaign": campaign}).status_code
    assert sealed == (200 if role == "admin" else 403)


CROSS_SITE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://star.test"},
    {"Origin": "http://evil.test"},
    {"Origin": "null"},
    {"Origin": "http://star.test.evil.test"},
    {"Origin": "http://[broken"},
    {"Sec-Fetch-Site": ""},
]


@pytest.mark.parametrize(("method", "path"), [("POST", "/leases"), ("PATCH", "/session"), ("DELETE", "/session")])
def test_another_sites_page_changes_nothing(site, token, lite, method, path):
    address, campaign = site()
    page = Page(address, token())
    with lite.read() as connection:
        before = audit.head(connection)
    body = {"campaign": campaign, "tab": "tab"} if path == "/leases" else {"language": "ja"}
    for headers in CROSS_SITE:
        page.headers = headers
        answer = page.send(method, path, operation="operation-1", json=body)
        assert (answer.status_code, answer.json()["code"]) == (403, "cross_site"), headers
    with lite.read() as connection:
        assert audit.head(connection) == before
    page.headers = {}
    assert page.get("/session").json()["me"]["language"] == "en"


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://star.test"}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
def test_the_own_page_and_programs_may(site, token, headers):
    address, _ = site()
    page = Page(address, token())
    page.headers = headers
    assert page.send("PATCH", "/session", json={"language": "ko"}).status_code == 200


def test_every_answer_carries_the_headers(site, token):
    address, _ = site(service={"secure": True})
    page = Page(address)
    for path in ("/", "/healthz", "/api/v1/session", "/api/v1/campaigns", "/nothing/here"):
        answer = page.http.get(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["strict-transport-security"]
    assert page.get("/session").headers["cache-control"] == "no-store"
    signed = page.send("POST", "/session", json={"token": token()})
    assert "secure" in signed.headers["set-cookie"].lower()


def test_a_long_body_is_refused(site, token):
    address, _ = site()
    page = Page(address, token())
    answer = page.send("POST", "/leases", operation="operation-1", content=b" " * (BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

    def pieces():
        for _ in range(20):
            yield b" " * (BODY_BYTES // 10)

    headers = {"Content-Type": "application/json"}
    answer = page.send("POST", "/leases", operation="operation-1", content=pieces(), headers=headers)
    assert answer.status_code in (400, 413)


def test_a_clip_from_claim_to_batch(site, token):
    address, campaign = site(double_share=0.0)
    page, admin = Page(address, token()), Page(address, token("admin", "Eva"))
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


def test_people_see_their_own_progress_and_reviewers_everybodys(site, token):
    address, campaign = site(double_share=0.0)
    ada, eva = Page(address, token()), Page(address, token("reviewer", "Eva"))
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


def test_picture_i_is_frame_i_of_training(site, token, prepared, make_campaign, number_in):
    address, campaign = site(double_share=0.0)
    page = Page(address, token("reviewer"))
    dataset = PreparedDataset.open(prepared)
    for video in dataset.videos("train")[::9]:
        encoded = read_video(dataset.root, video.shard, video.row)
        path = f"/items/{item_uid(campaign, video.id)}"
        strip_HWC = _picture(page.get(f"{path}/strip.jpg?w=56"))
        for index in range(video.frames):
            trained_HWC = decode_frames(encoded, [index])[0]
            answer = page.get(f"{path}/frames/{index}.jpg")
            # The very bytes of the shard; Pillow's decoder may round its last step differently from OpenCV's.
            assert answer.content == bytes(encoded.jpeg_V[index])
            shown_HWC = _picture(answer)
            assert np.abs(shown_HWC.astype(int) - trained_HWC).max() <= 2
            assert number_in(shown_HWC) == number_in(trained_HWC) == index
            assert number_in(_picture(page.get(f"{path}/frames/{index}.jpg?w=56"))) == index
            x, y = index % 16 * 56, index // 16 * 42
            assert number_in(strip_HWC[y : y + 42, x : x + 56]) == index


def _picture(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_pictures_are_cached_by_content_alone(site, token):
    address, campaign = site()
    page = Page(address, token())
    uid = page.claim(campaign)["item"]
    content = page.get(f"/items/{uid}").json()["content"]
    path = f"/items/{uid}/frames/0.jpg?w=56"
    assert "immutable" in page.get(f"{path}&v={content}").headers["cache-control"]
    assert page.get(f"{path}&v={content[::-1]}").headers["cache-control"] == "private, no-cache"
    assert page.get(path).headers["cache-control"] == "private, no-cache"
    assert "private" in page.get(f"{path}&v={content}").headers["cache-control"]


OUTSIDE = [
    "/items/{uid}/frames/{frames}.jpg",
    "/items/{uid}/frames/-1.jpg",
    "/items/{uid}/frames/1e3.jpg",
    "/items/{uid}/frames/..%2f..%2fmanifest.json",
    "/items/..%2f..%2fetc%2fpasswd/frames/0.jpg",
    "/items/%2e%2e/frames/0.jpg",
    "/items/{uid}%00/frames/0.jpg",
    "/items/{uid}/frames/0.jpg?w=57",
    "/items/{uid}/frames/0.jpg?w=-1",
    "/items/{uid}/frames/0.jpg?v=../x",
    "/items/clip-00/frames/0.jpg",
    "/campaigns/..%2f..%2f/progress",
    "/batches/..%2f..%2fannotations.db/manifest",
    "/../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
    "/../../app.py",
]


def test_no_path_leads_out_of_the_catalog(site, token):
    address, campaign = site()
    page = Page(address, token("admin"))
    lease = page.claim(campaign)
    frames = page.get(f"/items/{lease['item']}").json()["num_frames"]
    for path in OUTSIDE:
        answer = page.get(path.format(uid=lease["item"], frames=frames))
        assert answer.status_code in (404, 422), path
        assert answer.json()["code"] in ("not_found", "invalid"), path


def test_what_if(site, token):
    network = Guess()
    address, campaign = site(whatif=network)
    page = Page(address, token())
    assert page.get("/campaigns").json()[0]["whatif"]
    lease = page.claim(campaign)
    item = page.get(f"/items/{lease['item']}").json()
    path, frames = f"/items/{item['uid']}/whatif", item["num_frames"]
    for _ in range(2):
        answer = page.send("POST", path, json={"scores": [1.0] * frames}).json()
    assert network.asked == 2  # the network's own answer and the edited one, each once
    assert [one["label"] for one in answer["before"]["top5"]] == [2, 1, 0]
    assert [one["label"] for one in answer["after"]["top5"]] == [0, 1, 2]
    assert answer["after"]["true_rank"] == [1, 2, 3][item["label"]["label"]]
    half = page.send("POST", path, json={"scores": [None] * frames}).json()
    assert half["before"] == half["after"]
    assert page.send("POST", path, json={"scores": [1.0]}).json()["code"] == "length"
    assert page.send("POST", "/items/none/whatif", json={"scores": [1.0]}).json()["code"] == "not_found"


def test_without_a_network_there_is_no_what_if(site, token):
    address, campaign = site()
    page = Page(address, token())
    lease = page.claim(campaign)
    assert not page.get(f"/items/{lease['item']}").json()["whatif"]
    answer = page.send("POST", f"/items/{lease['item']}/whatif", json={"scores": [1.0]})
    assert answer.json()["code"] == "not_found"


def test_operations(site, token):
    address, campaign = site()
    page = Page(address, token())
    lease = page.claim(campaign)
    page.get(f"/items/{lease['item']}")
    for path in ("/healthz", "/readyz"):
        assert page.http.get(path).json() == {"status": "ok"}
    lines = page.http.get("/metrics").text.splitlines()
    assert 'star_requests_total{method="GET",route="/items/{uid}",status="200"} 1' in lines
    assert f'star_items{{campaign="{campaign}",state="open"}} 24' in lines
    assert "star_leases 1" in lines
    assert lease["item"] not in "\n".join(lines)


def test_the_document_names_every_path_of_the_table(site):
    address, _ = site()
    document = Page(address).get("/openapi.json").json()
    table = application.__doc__
    for path, verbs in document["paths"].items():
        short = path.removeprefix("/api/v1")
        for verb in verbs:
            assert f"{verb.upper():6} {short}" in table or short in ("/healthz", "/readyz", "/metrics")


def test_mistakes_have_codes(site, token):
    address, campaign = site()
    page = Page(address, token())
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


def test_a_changed_data_set_is_an_error_at_the_start(lite, loaded, prepared, tmp_path):
    campaign = loaded(lite)
    shutil.copytree(prepared, tmp_path / "data")
    manifest = tmp_path / "data" / "manifest.json"
    passport = PreparedDataset.open(prepared).passport
    manifest.write_text(manifest.read_text().replace(passport, "0" * len(passport)))
    with lite.write() as connection:
        connection.execute(sa.update(campaigns).values(root=str(tmp_path / "data")))
    pictures = Pictures(lite)
    with pytest.raises(UserError, match="changed since"):
        pictures.check(campaign)
    pictures.close()
