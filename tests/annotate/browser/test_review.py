"""The page of reviewers and admins: figures, decisions, batches, invitations; by keyboard; no violation axe finds."""

import re

import pytest
from playwright.sync_api import expect

ROOMS = ("progress", "clips", "batches", "people")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


@pytest.fixture
def overview():
    """A function that opens the page for somebody."""

    def open_page(person, room=""):
        page = person.context.new_page()
        page.goto(f"{person.server.address}/review.html#invite={person.invitation}")
        page.locator(f"#rooms a[href='#{room or 'progress'}']").click()
        return page

    return open_page


@pytest.fixture
def worked(service, somebody, until, answers):
    """A service whose first clip was flagged, whose second and third were answered."""
    server = service()
    page = somebody(server, "Aya").tab()

    def finish(act):
        before = page.locator("#strip").get_attribute("data-item")
        act()
        until(lambda: page.locator("#strip").get_attribute("data-item") != before)

    press(page, "l")
    page.locator("#dialog textarea").fill("it is pushed, not put")
    finish(page.locator("#dialog .primary").click)
    for _ in range(2):
        finish(lambda: press(page, "a", "2", "Home", "3", "Enter"))
    assert len(answers(server)) == 2
    return server


def test_figures_by_class_and_by_person(worked, somebody, overview):
    page = overview(somebody(worked, "Eva", "admin"))
    expect(page.locator("#rooms a[aria-current]")).to_have_text("Progress")
    expect(page.locator(".tile .value")).to_have_text(["33 %", "1", "0", "2", re.compile("\\S")])
    row = page.locator("#classes tbody tr")
    expect(row).to_have_count(1)
    expect(row.get_by_role("img")).to_have_attribute("aria-label", "Open 6, Flagged 1, Resolved 2")
    expect(page.locator("#persons tbody tr", has_text="Aya").locator("td").first).to_have_text("2")


def test_a_flag_is_returned_and_an_answer_accepted_by_keyboard(worked, somebody, overview, answers, until):
    page = overview(somebody(worked, "Eva", "reviewer"), "clips")
    expect(page.locator("#people-link")).to_be_hidden()
    entry = page.locator("#clip-list button")
    expect(entry).to_have_count(1)
    entry.focus()
    press(page, "Enter")
    expect(page.locator("#clip-detail .flag")).to_have_text("The label is wrong: it is pushed, not put")
    uid = entry.get_attribute("data-uid")
    page.locator("#clip-detail textarea").focus()
    page.keyboard.type("The label stands; please answer.")
    press(page, "Tab", "Enter")
    expect(page.locator("#clip-list .none")).to_be_visible()
    (item,) = [row for row in answers(worked, "items") if row["uid"] == uid]
    assert (item["state"], item["note"]) == ("open", "The label stands; please answer.")
    page.locator("#clip-state").select_option("resolved")
    expect(entry).to_have_count(2)
    entry.first.focus()
    press(page, "ArrowDown")
    expect(entry.nth(1)).to_have_attribute("aria-current", "true")
    expect(page.locator("#clip-detail canvas")).to_have_count(1)
    picture = page.locator("#clip-detail .frames")
    until(lambda: picture.evaluate("image => image.complete && image.naturalWidth") == 16 * 112)
    page.get_by_role("button", name="Accept").click()
    expect(entry).to_have_count(1)
    assert [row["reviewed"] for row in answers(worked, "items")].count(True) == 1


def test_a_batch_is_sealed_after_a_question(worked, somebody, overview, answers):
    eva = somebody(worked, "Eva", "admin")
    page = overview(eva, "batches")
    expect(page.locator("#ready")).to_have_text("Clips that are resolved and in no batch: 2")
    page.locator("#seal").click()
    expect(page.locator("#dialog")).to_contain_text("Seal 2 clips?")
    press(page, "Escape")
    assert answers(worked, "batches") == []
    page.locator("#seal").focus()
    press(page, "Enter")
    expect(page.locator("#dialog .primary")).to_be_focused()
    press(page, "Enter")
    expect(page.locator("#batch-table tbody tr")).to_have_count(1)
    expect(page.locator("#seal")).to_be_disabled()
    (batch,) = answers(worked, "batches")
    manifest = eva.context.request.get(page.locator("#batch-table a").evaluate("link => link.href")).json()
    assert (manifest["batch"], manifest["items"]) == (batch["id"], 2)


def test_an_invitation_is_made_shown_once_and_revoked(service, somebody, overview):
    server = service()
    page = overview(somebody(server, "Eva", "admin"), "people")
    page.locator("#invite-name").fill("Chie")
    page.locator("#invite-role").select_option("reviewer")
    press(page, "Enter")
    link = page.locator("#dialog input").input_value()
    assert link.startswith(f"{server.address}/#invite=")
    press(page, "Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    row = page.locator("#people-table tbody tr", has_text="Chie")
    expect(row).to_contain_text("Link until")
    assert row.locator("select").input_value() == "reviewer"
    chie = somebody(server, "Ben")
    chie.invitation = link.partition("=")[2]
    assert chie.tab().locator("#open-review").is_visible()
    row.get_by_role("button", name="Revoke link").click()
    expect(row).to_contain_text("No link")
    late = somebody(server, "Dai")
    late.provoked = True
    gone = late.context.new_page()
    gone.goto(link)
    expect(gone.locator("#dialog")).to_contain_text("Sign in")
    row.locator("select").select_option("annotator")
    row.get_by_role("button", name="Remove").click()
    expect(row).to_contain_text("Removed")
    expect(row.get_by_role("button", name="Let back in")).to_be_visible()
    own = page.locator("#people-table tbody tr", has_text="Eva")
    expect(own.locator("select")).to_have_count(0)
    expect(own.get_by_role("button", name="Remove")).to_have_count(0)


def test_disagreements_are_settled_on_the_annotation_page(service, somebody, overview, until, answers):
    server = service(skip=8, double_share=1.0)
    for number, (name, key) in enumerate((("Aya", "1"), ("Ben", "3")), 1):
        page = somebody(server, name).tab()
        press(page, "a", key, "Enter")
        until(lambda number=number: len(answers(server)) == number)
    page = overview(somebody(server, "Eva", "reviewer"), "clips")
    page.locator("#clip-state").select_option("adjudicate")
    expect(page.locator("#clip-list button")).to_have_count(1)
    page.locator("#clip-list button").click()
    expect(page.locator("#clip-detail canvas")).to_have_count(2)
    page.locator("#adjudicate").click()
    expect(page.locator(".opinion")).to_have_count(2)


def test_annotators_are_told_that_it_is_not_for_them(service, somebody):
    aya = somebody(service())
    page = aya.tab()
    expect(page.locator("#open-review")).to_be_hidden()
    page.goto(f"{aya.server.address}/review.html")
    expect(page.locator("#notice")).to_contain_text("This page is for reviewers")
    page.locator("#notice-action").click()
    expect(page.locator("#strip .cell").first).to_be_visible()


@pytest.mark.parametrize("language", ["en", *[pytest.param(other, marks=pytest.mark.slow) for other in ("ja", "ko")]])
def test_axe_finds_no_violation_in_any_room(worked, somebody, overview, accessible, language):
    eva = somebody(worked, "Eva", "admin")
    page = overview(eva)
    eva.context.request.patch(
        f"{worked.address}/api/v1/session", data={"language": language}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", language)
    for room in ROOMS:
        page.locator(f"#rooms a[href='#{room}']").click()
        expect(page.locator(f"#{room}")).to_be_visible()
        expect(page.locator(f"#{room} :is(tbody tr, #clip-list button, .none)").first).to_be_visible()
        if room == "clips":
            page.locator("#clip-list button").first.click()
            expect(page.locator("#clip-detail .decision")).to_be_visible()
        assert not re.search(r"\{\w+\}|undefined|NaN", page.locator("main").inner_text())
        accessible(page)
