"""What needs no browser: the pure core under node, and the page's words and promises as text."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "pipeline" / "annotate" / "page"
LANGUAGES = ("en", "ja", "ko")


def test_the_core_under_node(tmp_path):
    """In a folder of its own that says these are modules, which old versions of node need to be told."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed (Debian: nodejs)")
    shutil.copytree(PAGE, tmp_path / "page")
    shutil.copytree(Path(__file__).parent / "core", tmp_path / "core")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    tests = sorted(str(path) for path in (tmp_path / "core").glob("*.test.js"))
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *tests], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"^# pass (\d+)$", done.stdout, re.M).group(1)) >= 25
    assert "# skipped 0" in done.stdout


def words(language):
    return json.loads((PAGE / "locales" / f"{language}.json").read_text())


def holes(text):
    return sorted(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_all_words_with_the_same_holes(language):
    english, here = words("en"), words(language)
    assert list(here) == list(english)
    assert {key: holes(text) for key, text in here.items()} == {key: holes(text) for key, text in english.items()}
    assert [key for key, text in here.items() if not text] == ["purpose.first"]


def test_no_word_is_missing_or_idle():
    """Words are asked for by name; names that are put together from parts are looked for by their parts."""
    sources = "\n".join(p.read_text() for p in [*PAGE.rglob("*.js"), *PAGE.glob("*.html")])
    known = set(words("en"))
    asked = set(re.findall(r'\bt\(\s*"([\w.]+)"', sources)) | set(re.findall(r'data-t[\w-]*="([\w.]+)"', sources))
    assert asked <= known
    parts = {match.split("${")[0] for match in re.findall(r"`([\w.]+\.\$\{)", sources)}
    quoted = set(re.findall(r'"([\w.]+)"', sources)) | asked
    assert {key for key in known - quoted if not any(key.startswith(part) for part in parts)} == set()


def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline():
    for path in PAGE.rglob("*"):
        if path.suffix in (".html", ".js", ".css"):
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            assert not re.search(r"https?://|@import|\beval\(|new Function|innerHTML|outerHTML|insertAdjacent", text), (
                path
            )
    for path in PAGE.glob("*.html"):
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\bsrc=)|<video", path.read_text())


@pytest.mark.parametrize(
    "path", sorted(p for p in PAGE.rglob("*") if p.suffix in (".html", ".js", ".css")), ids=lambda path: path.name
)
def test_a_file_of_the_page_is_short_enough_to_read_and_says_what_it_is(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert path.suffix == ".html" or text.startswith("/*")
