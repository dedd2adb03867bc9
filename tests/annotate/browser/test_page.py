"""What the page shows and how it can be used: modes, what-if, player, languages, and no violation that axe finds."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_axe_finds_no_violation(service, somebody, accessible, believer, answers):
    page = somebody(service(examples=2, whatif=believer)).tab()
    accessible(page)
    press(page, "a", "2", "Home", "Shift+ArrowRight", "3", "w")
    expect(page.locator("#whatif-result .after").first).to_be_visible()
    accessible(page)
    for opener in ("#open-help", "#open-settings", "[data-command='flag']"):
        page.locator(opener).click()
        expect(page.locator("#dialog")).to_be_visible()
        accessible(page)
        page.keyboard.press("Escape")
        expect(page.locator("#dialog")).to_be_hidden()
    press(page, "4", "Enter")
    expect(page.locator("#dialog")).to_contain_text("2 frames have no level yet")
    accessible(page)
    press(page, "Enter")
    page.evaluate("document.documentElement.dataset.palette = 'paper'")
    accessible(page)


def test_axe_finds_no_violation_before_sign_in_and_after_the_last_clip(service, somebody, accessible):
    aya = somebody(service(skip=8))
    page = aya.context.new_page()
    page.goto(aya.server.address)
    expect(page.locator("#dialog")).to_contain_text("Sign in")
    accessible(page)
    page.locator("#dialog input").fill(aya.invitation)
    press(page, "Enter")
    page.locator("#strip .cell").first.wait_for()
    press(page, "a", "1", "Enter")
    expect(page.locator("#empty-title")).to_have_text("Nothing left to do")
    accessible(page)


def test_what_if_marks_the_true_class_and_says_whether_the_edit_helps(service, somebody, believer):
    page = somebody(service(whatif=believer)).tab()
    press(page, "a", "3", "w")
    table = page.locator("#whatif-result")
    expect(table.locator(".verdict")).to_have_text("True class: rank 2 → 1")
    expect(table.locator("tr.true th")).to_contain_text("Failing to put something")
    expect(table.locator("tr.true td")).to_have_text(["0.20", "0.80"])


def test_what_if_is_hidden_without_a_network(service, somebody):
    page = somebody(service()).tab()
    expect(page.locator("#whatif")).to_be_hidden()
    press(page, "w")
    expect(page.locator("#strip .cell").first).to_be_visible()


def test_a_short_video_shows_what_the_model_saw_repeated(service, somebody):
    page = somebody(service(skip=6)).tab()
    expect(page.locator(".cell[data-frame]")).to_have_count(20)
    expect(page.locator(".cell.repeat")).to_have_count(12)
    expect(page.locator(".cell[data-window~=first]")).to_have_attribute("data-frame", "0")
    expect(page.locator(".cell[data-window~=last]")).to_have_attribute("data-frame", "19")


def test_the_longest_video_wraps_and_follows_the_keyboard(service, somebody):
    page = somebody(service(skip=5)).tab()
    expect(page.locator(".cell[data-frame]")).to_have_count(120)
    expect(page.locator(".cell[data-window~=first]")).to_have_attribute("data-frame", "44")
    press(page, "End")
    expect(page.locator(".cell[data-frame='119']")).to_be_in_viewport()
    press(page, "ArrowUp")
    expect(page.locator(".cell[data-frame='95']")).to_be_focused()


def test_the_large_frame_is_the_numbered_frame(service, somebody):
    """Of the canvas: the box of the scene stands where it stands in this frame."""
    page = somebody(service()).tab()

    def centre():
        png = base64.b64decode(screen.evaluate("canvas => canvas.toDataURL()").partition(",")[2])
        row_XC = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)[40]
        return np.flatnonzero(row_XC[:, 0] - row_XC[:, 1] > 60).mean()

    screen = page.locator("#screen")
    for frame in (0, 7, 44):
        page.locator(f".cell[data-frame='{frame}'] .thumb").click()
        expect(screen).to_have_attribute("data-shown", str(frame))
        assert centre() == pytest.approx(18 + frame * 140 / 44, abs=2.5)
    expect(screen).to_have_attribute("aria-label", "Frame 44 of 44")
    assert page.locator("video").count() == 0


def test_play_loop_and_speed_step_through_numbered_frames(service, somebody, until):
    page = somebody(service()).tab()
    assert page.locator("#play").get_attribute("aria-pressed") == "false"
    page.locator("#speed").select_option("2")
    page.locator(".cell[data-frame='40'] .thumb").click()
    press(page, " ")
    # Past the end it goes on at the beginning.
    until(lambda: int(page.locator(".cell[data-playing]").get_attribute("data-frame")) in range(2, 40))
    press(page, " ")
    at = int(page.locator(".cell[data-current]").get_attribute("data-frame"))
    assert 2 <= at < 40
    expect(page.locator("#screen")).to_have_attribute("data-shown", str(at))
    # A loop stays inside the selection, and leaves it selected.
    press(page, "Home", "Shift+PageDown", "r")
    seen = set()
    for _ in range(20):
        seen.add(int(page.locator("#screen").get_attribute("data-shown")))
        page.wait_for_timeout(40)
    press(page, "r")
    assert seen <= set(range(5))
    assert len(seen) >= 3
    expect(page.locator(".cell[aria-selected=true]")).to_have_count(5)


def test_a_clip_plays_once_by_itself_unless_motion_is_unwanted(service, somebody):
    server = service()
    page = somebody(server, motion="no-preference").tab()
    expect(page.locator(".cell[data-playing]")).to_have_count(1)
    press(page, "ArrowRight")
    expect(page.locator(".cell[data-playing]")).to_have_count(0)
    expect(page.locator(".cell[data-frame='1']")).to_be_focused()
    calm = somebody(server, "Ben").tab()
    calm.wait_for_timeout(400)
    expect(calm.locator("#screen")).to_have_attribute("data-shown", "0")


def test_the_strip_is_spoken(service, somebody):
    page = somebody(service()).tab()
    strip = page.get_by_role("listbox", name="Frames of the clip")
    expect(strip.get_by_role("option")).to_have_count(45)
    press(page, "ArrowRight", "ArrowRight", "2")
    assert re.fullmatch(
        r"frame 2 of 44, 0.5, motion, model 0\.\d\d", strip.locator("[tabindex='0']").get_attribute("aria-label")
    )
    expect(page.locator("#voice")).to_have_text(re.compile("frame 2 motion"))
    assert strip.locator("[tabindex='0']").count() == 1


def test_single_letter_keys_can_be_switched_off(service, somebody, levels):
    aya = somebody(service())
    page = aya.tab()
    page.locator("#open-settings").click()
    page.locator("#dialog input[type=checkbox]").uncheck()
    page.locator("#dialog .primary").click()
    expect(page.locator("html")).to_have_attribute("data-letters", "off")
    page.locator(".cell[data-frame='3'] .thumb").click()
    press(page, "1", "a", "c")
    expect(page.locator("#dialog")).to_be_hidden()
    assert levels(page) == [None] * 45
    # By keyboard, but without letters: the brush is a button.
    press(page, "Shift+End")
    page.locator(".brush[data-level='1']").focus()
    press(page, " ")
    assert levels(page) == [None] * 3 + [1.0] * 42
    page.reload()
    page.locator("#strip .cell").first.wait_for()
    expect(page.locator("html")).to_have_attribute("data-letters", "off")


@pytest.mark.slow
def test_the_page_speaks_japanese_and_korean(service, somebody, accessible):
    page = somebody(service()).tab()
    for language, word in (("ja", "送信して次へ"), ("ko", "제출 후 다음")):
        page.locator("#open-settings").click()
        page.locator("#dialog select").first.select_option(language)
        page.locator("#dialog .primary").click()
        expect(page.locator("#submit")).to_contain_text(word)
        expect(page.locator("html")).to_have_attribute("lang", language)
        page.locator("#strip .cell").first.wait_for()
        accessible(page)


def test_practice_shows_the_known_answer_before_the_next_clip(service, somebody, answers, accessible):
    server = service(gold=1, practice_first=1)
    page = somebody(server).tab()
    expect(page.locator("#purpose")).to_contain_text("Practice")
    press(page, "a", "2", "Enter")
    expect(page.locator("#dialog")).to_contain_text("How close you were")
    accessible(page)
    press(page, "Enter")
    expect(page.locator("#purpose")).to_be_hidden()
    assert [row["purpose"] for row in answers(server)] == ["practice"]


def test_second_opinion_then_adjudication(service, somebody, answers, levels, accessible):
    server = service(skip=8, double_share=1.0)
    first = somebody(server, "Aya").tab()
    press(first, "a", "1", "Enter")
    expect(first.locator("#empty")).to_be_visible()
    second = somebody(server, "Ben").tab()
    expect(second.locator("#purpose")).to_contain_text("Second opinion")
    expect(second.locator("#opinions")).to_be_hidden()
    press(second, "a", "1", "Home", "Shift+ArrowDown", "3", "Enter")
    expect(second.locator("#dialog")).to_contain_text("You differ")
    accessible(second)
    third = somebody(server, "Chie", role="reviewer")
    page = third.context.new_page()
    page.goto(f"{server.address}/#invite={third.invitation}")
    expect(page.locator("#empty-title")).to_have_text("Nothing left to do")
    page.locator("#open-settings").click()
    page.get_by_label("Task").select_option("adjudicate")
    page.locator("#dialog .primary").click()
    expect(page.locator(".opinion")).to_have_count(2)
    # Where the two agree there is nothing to decide.
    assert levels(page) == [None] * 17 + [0.0] * 28
    accessible(page)
    page.locator(".opinion").nth(0).locator(".run").first.click()
    assert levels(page) == [0.0] * 45
    press(page, "Home", "Shift+ArrowRight", "6")
    assert levels(page) == [1.0] * 2 + [0.0] * 43
    press(page, "Enter")
    expect(page.locator("#empty")).to_be_visible()
    assert [row["purpose"] for row in answers(server)] == ["first", "second", "adjudicate"]
    assert answers(server)[2]["answer"]["scores"] == [1.0] * 2 + [0.0] * 43


def test_starting_from_the_model_is_recorded(service, somebody, saved, answers, levels):
    server = service(init="model")
    page = somebody(server).tab()
    start = levels(page)
    assert set(start) == {0.0, 0.5, 1.0}
    press(page, "3", "Enter")
    expect(page.locator("#count-you")).to_have_text("1")
    (row,) = answers(server)
    assert row["answer"]["init"] == "model"
    assert row["answer"]["sources"] == ["human"] + ["model"] * 44


def test_the_spatial_layer_is_there_only_where_the_campaign_has_it(service, somebody, saved, answers):
    page = somebody(service()).tab()
    expect(page.locator("#overlay")).to_be_hidden()
    server = service(spatial=True)
    page = somebody(server).tab()
    press(page, "h")
    canvas = page.locator("#map")
    expect(canvas).to_be_focused()
    press(page, "ArrowRight", "3", "ArrowDown", "2")
    saved(page)
    ((row),) = answers(server, "drafts")
    (kept,) = row["answer"]["spatial"]
    assert kept["frame"] == 0
    assert {cell: level for cell, level in enumerate(kept["cells"]) if level} == {1: 1.0, 15: 0.5}


def test_settings_of_the_page_narrow_the_work_to_one_class(service, somebody):
    page = somebody(service()).tab()
    page.locator("#open-settings").click()
    page.get_by_label("Class").select_option("1")
    page.locator("#dialog .primary").click()
    expect(page.locator("#class-name")).to_contain_text("Failing to put")
    expect(page.locator("#strip .cell").first).to_be_visible()


def test_signing_out_gives_the_clip_back(service, somebody, answers):
    server = service()
    page = somebody(server).tab()
    page.locator("#open-settings").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#dialog")).to_contain_text("Sign in")
    assert all(row["holder"] is None for row in answers(server, "tasks"))


def test_signing_out_gives_back_a_clip_that_is_still_on_its_way(service, somebody, answers, until):
    def held():
        return sum(row["holder"] is not None for row in answers(server, "tasks"))

    def hold_up_the_second_claim(route):
        if route.request.method != "POST":
            return route.continue_()
        # The server has done what it was asked for, and the page does not know it yet.
        routes.append((route, route.fetch()))
        if len(routes) == 1:
            routes[0][0].fulfill(response=routes[0][1])
        return None

    server, routes = service(), []
    aya = somebody(server)
    aya.context.route(lambda url: url.endswith("/leases"), hold_up_the_second_claim)
    page = aya.tab()
    until(lambda: page.wait_for_timeout(50) or len(routes) == 2)
    page.locator("#open-settings").click()
    page.get_by_role("button", name="Sign out").click()
    until(lambda: page.wait_for_timeout(50) or held() == 1)
    page.wait_for_timeout(300)
    route, answer = routes[1]
    route.fulfill(response=answer)
    expect(page.locator("#dialog")).to_contain_text("Sign in")
    assert held() == 0
