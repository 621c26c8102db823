# SPDX-License-Identifier: BSD-3-Clause
"""The man pages: made from weft.h without a complaint of groff, one for each public function, with all that its comment
says."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = Path(os.environ.get("WEFT_TEST_BUILD", ROOT / "build")).resolve() / "weft"
HEADER = ROOT / "include/weft/weft.h"
ENV = {k: v for k, v in os.environ.items()
       if k not in ("LD_PRELOAD", "ASAN_OPTIONS", "SOURCE_DATE_EPOCH")}  # two of them are the interpreter's

pytestmark = pytest.mark.skipif(not TOOL.exists(), reason="the program weft was not built")


def generate(out, *args, env=None):
    return subprocess.run([sys.executable, ROOT / "tools/gen_man.py", "--out", out, *args], capture_output=True, text=True,
                          timeout=60, env={**ENV, **(env or {})})


@pytest.fixture(scope="module")
def man(tmp_path_factory):
    out = tmp_path_factory.mktemp("man")
    result = generate(out, "--tool", str(TOOL))
    assert result.returncode == 0, result.stderr
    return out


def functions():
    return re.findall(r"^WEFT_API\b[^;(]*?\b(weft_\w+)\s*\(", HEADER.read_text(), re.M)


def rendered(page):
    groff = ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=120n", "-rHY=0"]
    out = subprocess.run([*groff, page], capture_output=True, text=True, timeout=30, env=ENV)
    assert out.returncode == 0 and not out.stderr, f"{page.name}: {out.stderr}"
    return out.stdout


needs_groff = pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")


@needs_groff
def test_every_function_has_a_whole_page(man):
    assert sorted(p.stem for p in (man / "man3").iterdir()) == sorted(functions())
    for name in functions():
        text = rendered(man / "man3" / f"{name}.3")
        heads = [s for s in text.splitlines() if re.match(r"[A-Z]", s)][1:]   # the first is the title
        assert [h for h in heads if h not in ("ERRORS", "TYPES")] == \
            ["NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUE", "SEE ALSO"], name
        parts = re.split(r"^[A-Z ]+$", text, flags=re.M)
        assert all(part.strip() for part in parts[1:]), name
        assert re.match(rf"\s*{name} +- +\S", parts[1]) and f"{name}(" in parts[2] and "weft(7)" in text, name


@needs_groff
def test_pages_say_what_the_comments_say(man):
    """The words of each comment are in the description and the return value of its page."""
    header = HEADER.read_text()
    for comment, name in re.findall(r"/\*((?:(?!\*/).)*)\*/\nWEFT_API\b[^;(]*?\b(weft_\w+)\s*\(", header, re.S):
        words = re.sub(r"\n \*", "\n", comment).replace("@", "").split()
        text = rendered(man / "man3" / f"{name}.3").replace("(3)", "()").replace("‐", "-")
        shown = set(text[text.index("\nDESCRIPTION"):].split())
        missing = [w for w in words if w not in shown]
        assert len(words) > 1 and not missing, (name, missing)


@needs_groff
def test_overview_and_program(man):
    overview, program = rendered(man / "man7/weft.7"), rendered(man / "man1/weft.1")
    for name in functions():
        assert f"{name}(3)" in overview
    for status in re.findall(r"\bX\((E\w+), -", HEADER.read_text()):
        assert f"WEFT_{status}" in overview
    for key in re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/SETTINGS.md").read_text(), re.M):
        assert re.search(rf"^ +{key} \(default", overview, re.M), key
    usage = subprocess.run([TOOL, "--help"], capture_output=True, text=True, timeout=30, env=ENV).stdout
    for word in set(re.findall(r"--[a-z-]+", usage)) | set(re.findall(r"^  (weft \w+)", usage, re.M)):
        assert word in program, word
    assert all(words in " ".join(program.split()) for words in ("Exit status: 0 no problem",))


def test_mandoc_has_no_warning(man):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed; groff has looked at the pages")
    pages = sorted(man.glob("man*/*"))
    lint = ["mandoc", "-T", "lint", "-W", "warning"]
    out = subprocess.run([*lint, *pages], capture_output=True, text=True, timeout=60, env=ENV).stdout
    assert out.splitlines() == []


def dates(folder):
    return {re.match(r'\.TH \S+ \d "(.*?)"', page.read_text())[1] for page in folder.glob("man*/*")}


def test_pages_have_the_date_of_the_version(man, tmp_path):
    version = re.search(r'"weft (\S+)"', (man / "man7/weft.7").read_text())[1]
    heading = re.search(rf"^## {re.escape(version)}\b.*", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    (date,) = dates(man)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date) and heading.endswith(date)
    assert generate(tmp_path, env={"SOURCE_DATE_EPOCH": "1700000000"}).returncode == 0
    assert dates(tmp_path) == {"2023-11-14"}                  # whoever packages it says when
    result = generate(tmp_path, env={"SOURCE_DATE_EPOCH": "yesterday"})
    assert result.returncode == 1 and "SOURCE_DATE_EPOCH" in result.stderr and "yesterday" in result.stderr


def test_the_same_sources_make_the_same_pages(man, tmp_path):
    assert generate(tmp_path, "--tool", str(TOOL)).returncode == 0
    for page in man.glob("man*/*"):
        assert (tmp_path / page.relative_to(man)).read_bytes() == page.read_bytes()


def test_a_function_without_a_comment_is_refused(tmp_path):
    text = HEADER.read_text()
    bare = re.sub(r"/\*(?:(?!\*/).)*\*/\n(WEFT_API int weft_progress\()", r"\1", text, flags=re.S)
    assert bare != text
    (tmp_path / "weft.h").write_text(bare)
    result = generate(tmp_path / "man", "--header", str(tmp_path / "weft.h"))
    assert result.returncode == 1 and "weft_progress() has no comment" in result.stderr
