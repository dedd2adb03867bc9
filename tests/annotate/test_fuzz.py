"""Requests that nobody would send, made from the service's own OpenAPI document."""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

ROLES = ("annotator", "admin")
KINDS = ("application/json", "image/jpeg", "text/plain")


@pytest.fixture(scope="module")
def target(serve, new_database, make_campaign):
    """A service with a campaign, and a signed-in cookie for each role."""
    folder, _ = make_campaign(gold=1, examples=1)
    with serve(new_database("sqlite"), folder) as server:
        cookies = {}
        for role in ROLES:
            with httpx.Client(base_url=server.address, verify=False) as client:
                client.post("/api/v1/session", json={"token": server.invite(role, role)}).raise_for_status()
                cookies[role] = dict(client.cookies)
        yield server, cookies


def attack(server, cookies, secrets, examples):
    """Send requests to every operation, well formed and not; returns how many operations were reached."""
    reached = set()
    schema = schemathesis.openapi.from_url(f"{server.address}/api/v1/openapi.json")
    for result in schema.get_all_operations():
        operation = result.ok()
        if (operation.method.upper(), operation.path) == ("DELETE", "/api/v1/session"):
            continue  # it would end the attack

        def send(case):
            answer = case.call(base_url=server.address, cookies=cookies)
            reached.add((case.method, case.path))
            assert answer.status_code < 500, answer.content
            kind = answer.headers.get("content-type", [""])[0]
            assert kind.startswith(KINDS) or answer.status_code == 204
            for secret in (*secrets, b"Traceback"):
                assert secret not in answer.content

        for mode in GenerationMode:
            options = {"deadline": None, "database": None, "derandomize": True, "phases": [Phase.generate]}
            bounded = settings(max_examples=examples, suppress_health_check=list(HealthCheck), **options)
            try:
                bounded(given(case=operation.as_strategy(generation_mode=mode))(send))()
            except Unsatisfiable:  # where nothing can be sent, nothing can be sent wrong
                assert mode is GenerationMode.NEGATIVE
                assert not operation.body
                assert not operation.path_parameters
    return len(reached)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize(
    ("role", "examples"),
    [("admin", 3), *[pytest.param(role, 60, marks=pytest.mark.slow) for role in ROLES]],
)
def test_no_request_breaks_the_service_or_gets_out_of_it(target, prepared, role, examples):
    server, cookies = target
    # Where things lie is nobody's business.
    secrets = [prepared.encode(), server.database.url.database.encode(), b"root:x:0:0"]
    assert attack(server, cookies[role], secrets, examples) >= 28
