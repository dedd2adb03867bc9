"""What every request passes (pipeline/annotate/security.py), and that no path leads out of the catalog."""

import pytest

from pipeline.annotate import audit
from pipeline.annotate.security import BODY_BYTES, POLICY

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
def test_another_sites_page_changes_nothing(site, token, lite, method, path, visit):
    address, campaign = site()
    page = visit(address, token())
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
def test_the_own_page_and_programs_may(site, token, headers, visit):
    address, _ = site()
    page = visit(address, token())
    page.headers = headers
    assert page.send("PATCH", "/session", json={"language": "ko"}).status_code == 200


def test_every_answer_carries_the_headers(site, token, visit):
    address, _ = site(service={"secure": True})
    page = visit(address)
    for path in ("/", "/healthz", "/api/v1/session", "/api/v1/campaigns", "/nothing/here"):
        answer = page.http.get(path)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["strict-transport-security"]
    assert page.get("/session").headers["cache-control"] == "no-store"
    signed = page.send("POST", "/session", json={"token": token()})
    assert "secure" in signed.headers["set-cookie"].lower()


def test_a_long_body_is_refused(site, token, visit):
    address, _ = site()
    page = visit(address, token())
    answer = page.send("POST", "/leases", operation="operation-1", content=b" " * (BODY_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

    def pieces():
        for _ in range(20):
            yield b" " * (BODY_BYTES // 10)

    headers = {"Content-Type": "application/json"}
    answer = page.send("POST", "/leases", operation="operation-1", content=pieces(), headers=headers)
    assert answer.status_code in (400, 413)


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


def test_no_path_leads_out_of_the_catalog(site, token, visit):
    address, campaign = site()
    page = visit(address, token("admin"))
    lease = page.claim(campaign)
    frames = page.get(f"/items/{lease['item']}").json()["num_frames"]
    for path in OUTSIDE:
        answer = page.get(path.format(uid=lease["item"], frames=frames))
        assert answer.status_code in (404, 422), path
        assert answer.json()["code"] in ("not_found", "invalid"), path
