"""Who is signed in, as what (pipeline/annotate/people.py), seen from outside."""

from pathlib import Path

import pytest

from pipeline.annotate import audit, people
from pipeline.annotate.service import COOKIE


def test_signing_in_and_out(site, token, lite, visit):
    address, _ = site()
    page, invitation = visit(address), token()
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
    assert visit(address, invitation).get("/campaigns").status_code == 200  # the link still serves
    with lite.read() as connection:
        actions = [row.action for row in audit.read(connection)]
    assert actions == ["import", "invite", "sign_in", "sign_out", "sign_in"]


def test_tokens_are_not_in_the_store(site, token, lite, visit):
    address, _ = site()
    invitation = token()
    page = visit(address, invitation)
    data = b"".join(path.read_bytes() for path in Path(lite.url.database).parent.iterdir())
    assert b"Ada" in data
    assert invitation.encode() not in data
    assert page.http.cookies[COOKIE].encode() not in data


def test_a_session_ends_unless_it_is_used(site, token, lite, visit):
    address, campaign = site(service={"session_s": 1000.0})
    page = visit(address, token())
    for _ in range(3):
        lite.clock.now += 900
        assert page.get("/campaigns").status_code == 200
    lite.clock.now += 1001
    answer = page.claim(campaign) if page.get("/campaigns").status_code == 200 else None
    assert answer is None
    assert page.get("/campaigns").json()["code"] == "signed_out"


def test_guessing_tokens_is_slowed_down(site, token, lite, visit):
    address, _ = site()
    page, guess = visit(address), {"json": {"token": "x" * 43}}
    codes = [page.send("POST", "/session", **guess).json()["code"] for _ in range(12)]
    assert codes == ["bad_invitation"] * 10 + ["slow_down"] * 2
    late = page.send("POST", "/session", json={"token": token()})
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 0
    lite.clock.now += 61
    assert page.send("POST", "/session", json={"token": token()}).status_code == 200


def test_people_who_leave_are_out_at_once(site, token, visit):
    address, campaign = site()
    page, admin = visit(address, token()), visit(address, token("admin", "Eva"))
    lease = page.claim(campaign)
    user = page.get("/session").json()["me"]["id"]
    changed = admin.send("PATCH", f"/users/{user}", json={"active": False}).json()
    assert (changed["active"], changed["name"]) == (False, "Ada")
    assert page.get("/campaigns").status_code == 401
    assert visit(address, token(name="Ben")).claim(campaign)["item"] == lease["item"]
    me = admin.get("/session").json()["me"]["id"]
    assert admin.send("PATCH", f"/users/{me}", json={"role": "annotator"}).json()["code"] == "conflict"
    assert admin.send("PATCH", "/users/nobody", json={"active": False}).json()["code"] == "not_found"
    assert admin.send("POST", "/users/nobody/invitation").json()["code"] == "not_found"
    again = admin.send("POST", f"/users/{user}/invitation").json()
    assert admin.send("PATCH", f"/users/{user}", json={"active": True}).status_code == 200
    assert visit(address).send("POST", "/session", json={"token": again["token"]}).status_code == 200


@pytest.mark.parametrize(
    ("role", "may"),
    [("annotator", set()), ("reviewer", {"items", "batches"}), ("admin", {"items", "batches", "audit", "users"})],
)
def test_roles(site, token, role, may, visit):
    address, campaign = site()
    page = visit(address, token(role))
    paths = {"items": f"/campaigns/{campaign}/items", "batches": "/batches", "audit": "/audit", "users": "/users"}
    assert {name for name, path in paths.items() if page.get(path).status_code == 200} == may
    sealed = page.send("POST", "/batches", json={"campaign": campaign}).status_code
    assert sealed == (200 if role == "admin" else 403)


def test_a_revoked_link_serves_no_more_and_a_running_session_goes_on(site, token, visit, lite):
    address, _ = site()
    admin, invitation = visit(address, token("admin", "Eva")), token()
    page = visit(address, invitation)
    user = page.get("/session").json()["me"]["id"]

    def invited():
        return next(row["invited"] for row in admin.get("/users").json() if row["id"] == user)

    assert invited() == lite.clock() + people.INVITATION_S
    assert page.send("DELETE", f"/users/{user}/invitation").status_code == 403
    for _ in range(2):  # again is no error
        assert admin.send("DELETE", f"/users/{user}/invitation").status_code == 204
    assert invited() is None
    assert page.get("/campaigns").status_code == 200
    assert visit(address).send("POST", "/session", json={"token": invitation}).json()["code"] == "bad_invitation"
    again = admin.send("POST", f"/users/{user}/invitation").json()
    assert invited() == again["expires"]
    assert visit(address, again["token"]).get("/campaigns").status_code == 200
    assert admin.send("DELETE", "/users/nobody/invitation").json()["code"] == "not_found"
    with lite.read() as connection:
        assert [row.action for row in audit.read(connection)].count("revoke") == 1
