"""What goes wrong between a stroke and the server, and that no stroke is lost by it."""

import pytest
from playwright.sync_api import expect

from pipeline.annotate import people, tables


def status(page, wanted):
    expect(page.locator("#badge")).to_have_attribute("data-status", wanted)


def stroke(page, frame, key):
    page.locator(f".cell[data-frame='{frame}'] .thumb").click()
    page.keyboard.press(key)


def fetched_ahead(server, answers, until):
    """Wait until the page holds the next clip too, so that a test does not meet its requests half way."""
    until(lambda: sum(row["holder"] is not None and row["state"] == "open" for row in answers(server, "tasks")) == 2)


def drafts(server, answers):
    rows = sorted(answers(server, "drafts"), key=lambda row: row["task"])
    return [row["answer"]["scores"] for row in rows]


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_offline_and_back(service, somebody, saved, answers, levels, seconds):
    server = service()
    aya = somebody(server)
    page = aya.tab()
    stroke(page, 0, "2")
    saved(page)
    aya.provoked = True
    aya.context.set_offline(True)
    page.keyboard.press("a")
    page.keyboard.press("1")
    status(page, "local")
    expect(page.locator("#notice")).to_contain_text("No connection")
    for frame in range(10, 14):
        stroke(page, frame, "3")
        page.wait_for_timeout(seconds * 1000 // 4)
    assert drafts(server, answers) == [[0.5] + [None] * 44]
    aya.context.set_offline(False)
    saved(page)
    expect(page.locator("#notice")).to_be_hidden()
    assert drafts(server, answers) == [levels(page)] == [[0.0] * 10 + [1.0] * 4 + [0.0] * 31]


def test_submitted_offline_arrives_once_and_the_next_clip_follows(service, somebody, answers):
    server = service()
    aya = somebody(server)
    page = aya.tab()
    aya.provoked = True
    aya.context.set_offline(True)
    for key in ("a", "2", "Enter"):
        page.keyboard.press(key)
    status(page, "local")
    page.keyboard.press("3")
    aya.context.set_offline(False)
    expect(page.locator("#strip .cell[data-level=unset]")).to_have_count(45)
    (row,) = answers(server)
    assert row["answer"]["scores"] == [0.5] * 45


def test_reload_in_mid_edit_keeps_levels_and_the_undo_stack(service, somebody, saved, answers, levels):
    server = service()
    aya = somebody(server)
    page = aya.tab()
    page.on("dialog", lambda dialog: dialog.accept())
    stroke(page, 3, "3")
    saved(page)
    # The last strokes are in the journal alone when the page goes away.
    aya.provoked = True
    aya.context.set_offline(True)
    stroke(page, 4, "2")
    page.keyboard.press("a")
    page.keyboard.press("1")
    before = levels(page)
    page.wait_for_timeout(300)
    aya.context.set_offline(False)
    page.reload()
    page.locator("#strip .cell").first.wait_for()
    assert levels(page) == before == [0.0] * 45
    page.keyboard.press("z")
    assert levels(page) == [None] * 3 + [1.0, 0.5] + [None] * 40
    page.keyboard.press("z")
    page.keyboard.press("z")
    assert levels(page) == [None] * 45
    page.keyboard.press("Shift+Z")
    saved(page)
    assert drafts(server, answers) == [[None] * 3 + [1.0] + [None] * 41]


def test_an_answer_lost_on_its_way_back_is_recognised(service, somebody, saved, answers):
    """The save arrives, its answer does not; the repetition must not look like somebody else's change."""
    server = service()
    aya = somebody(server)
    page = aya.tab()
    aya.provoked = True
    operations = []

    def lose_first_answer(route):
        operations.append(route.request.headers["operation-id"])
        if len(operations) > 1:
            return route.continue_()
        route.fetch()
        return route.abort()

    page.route("**/draft", lose_first_answer)
    stroke(page, 0, "3")
    status(page, "local")
    saved(page)
    assert operations[0] == operations[1]
    assert [row["version"] for row in answers(server, "drafts")] == [1]
    expect(page.locator("#dialog")).to_be_hidden()


def test_two_tabs(service, somebody, saved, answers, levels):
    server = service()
    aya = somebody(server)
    first = aya.tab()
    stroke(first, 2, "3")
    saved(first)
    second = aya.tab(signed_in=True)
    expect(second.locator("#notice")).to_contain_text("open in another tab")
    status(second, "readonly")
    stroke(second, 7, "2")
    assert levels(second)[7] is None
    assert levels(second)[2] == 1.0
    second.locator("#notice-action").click()
    status(second, "saved")
    expect(first.locator("#notice")).to_contain_text("Another tab took this clip over")
    stroke(second, 7, "2")
    saved(second)
    stroke(first, 9, "1")
    assert levels(first)[9] is None
    assert drafts(server, answers) == [[None] * 2 + [1.0] + [None] * 4 + [0.5] + [None] * 37]
    # And back again.
    first.locator("#notice-action").click()
    status(first, "saved")
    assert levels(first)[7] == 0.5
    expect(second.locator("#notice")).to_contain_text("Another tab took this clip over")


def test_a_tab_that_was_closed_is_replaced_without_a_question(service, somebody, saved, levels):
    aya = somebody(service())
    first = aya.tab()
    stroke(first, 2, "3")
    saved(first)
    first.close()
    second = aya.tab(signed_in=True)
    status(second, "saved")
    assert levels(second)[2] == 1.0


def test_a_stale_page_is_shown_both_answers(service, somebody, saved, answers, levels):
    """Another computer of the same person wrote in between: nothing is picked in silence."""
    server = service()
    aya = somebody(server)
    page = aya.tab()
    stroke(page, 0, "3")
    saved(page)
    aya.provoked = True

    def elsewhere():
        with server.database.write() as connection:
            row = connection.execute(tables.drafts.select()).mappings().one()
            answer = {**row["answer"], "scores": [0.0] * 45, "sources": ["human"] * 45}
            connection.execute(tables.drafts.update().values(version=row["version"] + 1, answer=answer))

    elsewhere()
    stroke(page, 1, "2")
    expect(page.locator("#dialog")).to_contain_text("changed elsewhere")
    page.get_by_role("button", name="Keep mine").click()
    saved(page)
    assert drafts(server, answers) == [[1.0, 0.5] + [None] * 43]
    elsewhere()
    stroke(page, 2, "2")
    page.get_by_role("button", name="Keep the server's").click()
    status(page, "saved")
    assert levels(page) == [0.0] * 45
    stroke(page, 4, "3")
    saved(page)
    assert drafts(server, answers) == [[0.0] * 4 + [1.0] + [0.0] * 40]


def test_an_ended_session_is_asked_for_again_and_the_work_follows(service, somebody, saved, answers, until):
    server = service()
    aya = somebody(server)
    page = aya.tab()
    fetched_ahead(server, answers, until)
    aya.provoked = True
    aya.context.clear_cookies()
    stroke(page, 5, "3")
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("Your session ended")
    expect(dialog).to_contain_text("kept on this computer")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    dialog.locator("input").fill("not a link")
    page.keyboard.press("Enter")
    expect(dialog.locator("[role=alert]")).to_have_text("This is not an invitation link.")
    dialog.locator("input").fill("x" * 43)
    page.keyboard.press("Enter")
    expect(dialog.locator("[role=alert]")).to_contain_text("not valid any more")
    dialog.locator("input").fill(f"{server.address}/#invite={aya.invitation}")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    saved(page)
    assert drafts(server, answers) == [[None] * 5 + [1.0] + [None] * 39]


def test_a_lapsed_lease_is_revived_and_a_lost_one_is_told(service, somebody, saved, answers, until):
    server = service()
    aya = somebody(server)
    page = aya.tab()
    fetched_ahead(server, answers, until)
    aya.provoked = True
    with server.database.write() as connection:
        at_hand = tables.tasks.c.item == page.locator("#strip").get_attribute("data-item")
        connection.execute(tables.tasks.update().where(at_hand).values(expires=1.0))
    for key in ("a", "3", "Enter"):
        page.keyboard.press(key)
    # The next clip is there: the lease was revived and the answer given, without a question.
    expect(page.locator("#strip .cell[data-level=unset]")).to_have_count(45)
    assert [row["answer"]["scores"] for row in answers(server)] == [[1.0] * 45]
    fetched_ahead(server, answers, until)
    with server.database.write() as connection:
        ben = people.invite(connection, server.database.clock(), "system", "Ben", "annotator").user
        connection.execute(tables.tasks.update().values(holder=ben))
    stroke(page, 1, "3")
    expect(page.locator("#notice")).to_contain_text("went to somebody else")
    status(page, "lost")


def test_a_browser_without_a_disk_says_so_and_saves_all_the_same(service, somebody, saved, answers):
    server = service()
    aya = somebody(server)
    aya.context.add_init_script("indexedDB.open = () => { throw new DOMException('no disk', 'SecurityError'); }")
    page = aya.tab()
    expect(page.locator("#notice")).to_contain_text("keeps nothing on disk")
    stroke(page, 0, "3")
    saved(page)
    assert drafts(server, answers) == [[1.0] + [None] * 44]


def test_a_disk_that_fills_up_is_told_and_stops_no_save(service, somebody, saved, answers):
    server = service()
    aya = somebody(server)
    page = aya.tab()
    stroke(page, 0, "3")
    saved(page)
    page.evaluate("() => { IDBObjectStore.prototype.put = () => { throw new DOMException('', 'QuotaExceededError') } }")
    stroke(page, 1, "2")
    expect(page.locator("#notice")).to_contain_text("keeps nothing on disk")
    saved(page)
    page.keyboard.press("a")
    page.keyboard.press("1")
    saved(page)
    assert drafts(server, answers) == [[0.0] * 45]


def test_pictures_that_fail_are_asked_for_again_and_no_other_frame_stands_in(service, somebody):
    aya = somebody(service())
    aya.provoked = True
    refused = set()

    def fail_once(route):
        if route.request.url in refused:
            return route.continue_()
        refused.add(route.request.url)
        return route.abort()

    aya.context.route("**/frames/*.jpg*", fail_once)
    page = aya.tab()
    screen = page.locator("#screen")
    stroke(page, 7, "1")
    expect(screen).to_have_attribute("aria-label", "Frame 7 of 44")
    assert screen.get_attribute("data-shown") == "-1"
    expect(screen).to_have_attribute("data-shown", "7")
