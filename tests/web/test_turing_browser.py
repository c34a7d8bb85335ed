"""The page in a real browser: by keyboard, by touch, through reloads and restarts, two people at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from browsers import CHROMIUM, PHONE
from page_server import Server

from migaki.web.turing import TuringConfig

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[
            "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic"])
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages in profiles of their own; at the end none may have complained."""
    contexts, complaints = [], []

    def new(**options: Any) -> Any:
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text)
                if "Content Security Policy" in message.text else None)
        return page

    yield new
    for context in contexts:
        context.close()
    assert complaints == []


def wait_for(page: Any, position: int) -> None:
    page.wait_for_selector(f'body[data-position="{position}"] #picture.shown')


def answers(server: Server) -> dict[str, list[bool]]:
    return {record.code: [one.said_real for one in record.answers] for record in server.sittings.records()}


def test_a_whole_sitting_by_keyboard(serve: Callable[[], Server], open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    page.goto(server.url)
    page.wait_for_selector("#begin:visible")
    page.keyboard.press("Enter")  # Begin has the focus
    said = [True, False, False, True, True, False, True, False]
    for position, real in enumerate(said):
        wait_for(page, position)
        assert page.text_content("#count") == f"{position + 1} / 8"
        page.keyboard.press("ArrowRight" if real else "ArrowLeft")
    page.wait_for_selector("#done:visible")
    assert answers(server) == {page.text_content("#final-code"): said}
    (record,) = server.sittings.records()
    right = sum(one.is_real == one.said_real for one in record.answers)
    assert page.text_content("#right") == f"{right} of 8"
    assert "51.7 %" in page.text_content("#paper") and "0.148" in page.text_content("#paper")


@pytest.mark.parametrize(("num_right", "verdict", "chance"), [
    (8, "That is better than guessing.", "does at least as well with p = 0.004"),
    (4, "That could well be guessing.", "does at least as well with p = 0.637"),
    (0, "That is worse than guessing", "is as far from 50 % with p = 0.008"),
])
def test_the_last_page_says_on_which_side_of_guessing_one_is(
        serve: Callable[[], Server], open_page: Callable[..., Any], num_right: int, verdict: str, chance: str) -> None:
    server, page = serve(), open_page()
    page.goto(server.url)
    page.click("#begin")
    wait_for(page, 0)
    key = page.evaluate("() => sessionStorage.getItem('sitting')")
    truth = [one.is_real for one in server.sittings.stimuli().stimuli]
    for position in range(8):
        wait_for(page, position)
        image = server.sittings.image_at(key, position)
        assert image is not None
        page.keyboard.press("r" if truth[image] == (position < num_right) else "n")
    page.wait_for_selector("#done:visible")
    assert verdict in page.text_content("#verdict") and chance in page.text_content("#paper")


def test_a_reload_in_the_middle_shows_the_same_image(serve: Callable[[], Server],
                                                     open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    pictures = []
    page.on("response", lambda reply: pictures.append(reply.body()) if "/api/image/3" in reply.url else None)
    page.goto(server.url)
    page.click("#begin")
    for position in range(3):
        wait_for(page, position)
        page.keyboard.press("r")
    wait_for(page, 3)
    page.reload()
    wait_for(page, 3)
    assert page.text_content("#count") == "4 / 8"
    assert len(pictures) == 2 and pictures[0] == pictures[1]
    assert [len(said) for said in answers(server).values()] == [3]


def test_a_closed_window_can_go_on_later(serve: Callable[[], Server], open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    page.goto(server.url)
    page.click("#begin")
    wait_for(page, 0)
    page.keyboard.press("n")
    wait_for(page, 1)
    later = page.context.new_page()
    page.close()
    later.goto(server.url)
    later.click("#resume")
    wait_for(later, 1)
    assert len(answers(server)) == 1


def test_a_crash_of_the_server_only_makes_one_wait(serve: Callable[[], Server],
                                                   open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    page.goto(server.url)
    page.click("#begin")
    wait_for(page, 0)
    server.stop()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#trouble:visible")
    server.start()
    wait_for(page, 1)
    assert page.is_hidden("#trouble")
    assert list(answers(server).values()) == [[True]]


def test_two_sittings_at_once_do_not_mix(serve: Callable[[], Server], open_page: Callable[..., Any]) -> None:
    server, pages = serve(), (open_page(), open_page(**PHONE))
    for page in pages:
        page.goto(server.url)
        page.click("#begin")
    for position in range(8):
        for page, button in zip(pages, ("#real", "#fake"), strict=True):
            wait_for(page, position)
            page.tap(button) if button == "#fake" else page.click(button)
    for page in pages:
        page.wait_for_selector("#done:visible")
    codes = [page.text_content("#final-code") for page in pages]
    assert answers(server) == {codes[0]: [True] * 8, codes[1]: [False] * 8}


def test_two_windows_of_one_sitting_follow_each_other(serve: Callable[[], Server],
                                                      open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    page.goto(server.url)
    page.click("#begin")
    wait_for(page, 0)
    second = page.context.new_page()
    second.goto(server.url)
    second.click("#resume")
    wait_for(second, 0)
    second.keyboard.press("ArrowLeft")
    wait_for(second, 1)
    page.keyboard.press("ArrowRight")  # answers an image that was answered: does not count
    wait_for(page, 1)
    assert list(answers(server).values()) == [[False]]


def test_a_double_tap_and_a_held_key_are_one_answer(serve: Callable[[], Server],
                                                    open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page(**PHONE)
    page.goto(server.url)
    page.tap("#begin")
    wait_for(page, 0)
    page.evaluate("() => { const b = document.getElementById('real'); b.click(); b.click(); b.click(); }")
    wait_for(page, 1)
    page.keyboard.down("ArrowLeft")
    for _ in range(3):
        page.keyboard.down("ArrowLeft")  # repeats
    wait_for(page, 2)
    page.keyboard.down("ArrowLeft")  # still held, now over the next image
    page.wait_for_timeout(300)
    assert list(answers(server).values()) == [[True, False]]


def test_an_image_that_is_not_there_yet_cannot_be_judged(serve: Callable[[], Server],
                                                         open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    held: list[Any] = []
    page.route("**/api/image/1", lambda route: held.append(route))
    page.goto(server.url)
    page.click("#begin")
    wait_for(page, 0)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('#count:text("2 / 8")')
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    assert list(answers(server).values()) == [[True]]
    held[0].continue_()
    wait_for(page, 1)


@pytest.mark.parametrize("options", [PHONE, {"viewport": {"width": 320, "height": 480}},
                                     {"viewport": {"width": 844, "height": 390}}, {}])
def test_the_image_and_both_buttons_fit_every_screen(serve: Callable[[], Server], open_page: Callable[..., Any],
                                                     options: dict[str, Any]) -> None:
    server, page = serve(), open_page(**options)
    page.goto(server.url)
    page.click("#begin")
    wait_for(page, 0)
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    boxes = [page.locator(part).bounding_box() for part in ("#picture", "#fake", "#real")]
    for box in boxes:
        assert box["x"] >= 0 and box["y"] >= 0
        assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height
    assert all(box["height"] >= 48 and box["width"] >= 48 for box in boxes[1:])  # px, wide enough for a thumb
    assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(55 / 35, rel=0.02)


def test_the_link_carries_the_token_and_the_address_bar_forgets_it(
        serve: Callable[..., Server], open_page: Callable[..., Any], config: TuringConfig) -> None:
    server, page = serve(replace(config, token="a-token-in-the-link")), open_page()
    page.goto(server.url)
    page.click("#begin")
    page.wait_for_selector("#trouble:visible")
    assert "complete link" in page.text_content("#trouble")
    fresh = open_page()
    fresh.goto(f"{server.url}#a-token-in-the-link")
    fresh.click("#begin")
    wait_for(fresh, 0)
    assert fresh.url == server.url


def test_the_results_page_shows_its_images_under_its_policy(serve: Callable[[], Server],
                                                            open_page: Callable[..., Any]) -> None:
    server, page = serve(), open_page()
    key, _ = server.sittings.begin()
    for position in range(8):
        server.sittings.answer(key, position, True)
    page.goto(f"{server.url}results?key={server.sittings.settings['results_key']}")
    assert page.locator("figure img").count() == 4
    assert page.evaluate("() => [...document.images].every(image => image.naturalWidth === 55)")
    assert page.evaluate("() => getComputedStyle(document.body).maxWidth") != "none"  # the style was let through
