"""A whole clip, from the invitation to the next clip: by keyboard alone, by pointer alone."""

from playwright.sync_api import expect

EXPECTED = [0.0] * 14 + [0.5] * 7 + [1.0] * 4 + [0.5] * 9 + [0.0] * 11


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def paint_by_key(page):
    """All to 0, then the motion as one range, then its key moment inside."""
    press(page, "a", "1", *["PageDown"] * 3, *["ArrowRight"] * 2)
    press(page, "Shift+ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight", "2")
    press(page, "[", *["ArrowRight"] * 7, *["Shift+ArrowRight"] * 3, "3")


def test_a_whole_clip_by_keyboard_alone(service, somebody, saved, answers, levels):
    server = service()
    page = somebody(server).tab()
    heading = page.locator("#class-name")
    expect(heading).to_have_text("Failing to put something into something because something does not fit")
    assert "invite" not in page.url
    assert levels(page) == [None] * 45
    paint_by_key(page)
    assert levels(page) == EXPECTED
    saved(page)
    assert answers(server, "drafts")[0]["answer"]["scores"] == EXPECTED
    first = page.locator("#strip").get_attribute("data-item")
    press(page, "Enter")
    expect(page.locator("#strip .cell[data-level=unset]")).to_have_count(45)
    assert page.locator("#strip").get_attribute("data-item") != first
    (row,) = answers(server)
    assert row["answer"]["scores"] == EXPECTED
    assert row["answer"]["sources"] == ["human"] * 45
    assert row["answer"]["editor"] == "page-1"
    expect(page.locator("#count-you")).to_have_text("1")


def test_a_whole_clip_by_pointer_alone(service, somebody, answers, levels):
    server = service()
    page = somebody(server).tab()

    def drag(first, last):
        box = page.locator(f".cell[data-frame='{first}'] .thumb").bounding_box()
        end = page.locator(f".cell[data-frame='{last}'] .thumb").bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 12)
        page.mouse.down()
        page.mouse.move(end["x"] + 20, end["y"] + 12, steps=6)
        page.mouse.up()

    def brush(level):
        page.locator(f".brush[data-level='{level}']").click()

    brush("0")
    drag(0, 44)
    brush("0.5")
    assert levels(page) == [0.0] * 45
    drag(33, 14)
    brush("1")
    # Without dragging: a click looks, a Shift-click paints up to there; a click on a bar paints one frame.
    page.locator(".cell[data-frame='21'] .thumb").click()
    assert levels(page)[21] == 0.5
    page.locator(".cell[data-frame='24'] .thumb").click(modifiers=["Shift"])
    page.locator(".cell[data-frame='40'] .bar").click()
    assert levels(page)[40] == 1.0
    page.locator("[data-command='undo']").click()
    page.locator("[data-command='redo']").click()
    page.locator("[data-command='undo']").click()
    assert levels(page) == EXPECTED
    page.locator("#submit").click()
    expect(page.locator("#strip .cell[data-level=unset]")).to_have_count(45)
    (row,) = answers(server)
    assert row["answer"]["scores"] == EXPECTED


def test_submitting_is_refused_by_name_while_a_frame_is_unset(service, somebody, answers):
    server = service()
    page = somebody(server).tab()
    press(page, "a", "2", "Home", *["ArrowRight"] * 5, "4", "Enter")
    expect(page.locator("#dialog")).to_contain_text("One frame has no level yet")
    expect(page.locator("#dialog")).to_contain_text("Unset: 5")
    press(page, "Enter")
    expect(page.locator(".cell[data-current]")).to_have_attribute("data-frame", "5")
    expect(page.locator(".cell[data-frame='5']")).to_be_focused()
    assert answers(server) == []


def test_clips_are_flagged_with_a_note(service, somebody, answers, until):
    server = service()
    page = somebody(server).tab()
    for number, key in enumerate("clb", 1):
        before = page.locator("#strip").get_attribute("data-item")
        press(page, key)
        page.locator("#dialog textarea").fill(f"note {number}")
        page.locator("#dialog .primary").click()
        until(lambda before=before: page.locator("#strip").get_attribute("data-item") != before)
    flags = [(row["reason"], row["note"]) for row in answers(server, "flags")]
    assert flags == [("cannot_judge", "note 1"), ("wrong_label", "note 2"), ("broken_clip", "note 3")]
