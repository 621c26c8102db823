#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""gen_man.py - makes the man pages: weft_send(3) and one for each other public function from the contract comment at its
prototype in weft.h; weft(7) from the head of weft.h, its list of failures and docs/SETTINGS.md; weft(1) from what
`weft --help` prints. There is no other text, so what is wrong in a page is mended in its source.

Of a comment, the first sentence is the NAME, what follows "Returns" is the RETURN VALUE. A public function without a
comment is an error.

  tools/gen_man.py --out build/man --tool build/weft
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHOWN_TYPES = ["weft_buf", "weft_call", "weft_event", "weft_error", "weft_rma", "weft_worker_opts", "weft_conn_opts"]


# ---- reading weft.h -------------------------------------------------------------------------------------------------


class Function:
    def __init__(self, name, prototype, comment, section):
        self.name, self.prototype, self.section = name, prototype, section
        at = re.search(r"\bReturns\b", comment)
        self.says = comment[: at.start()].strip() if at else comment
        self.returns = comment[at.start():].strip() if at else ""
        self.posts = bool(re.search(r"\bweft_call \*call\b", prototype)) and name != "weft_probe"

    def sentence(self):
        """The first one, without its full stop."""
        text = self.says or self.returns
        return " ".join(re.match(r"(.*?)(?:\.(?=\s)|\.?$)", text, re.S)[1].split()).rstrip(":")


class Header:
    def __init__(self, path):
        self.text = path.read_text()
        number = {k: re.search(rf"define WEFT_VERSION_{k} (\d+)", self.text)[1] for k in ("MAJOR", "MINOR", "PATCH")}
        self.version = ".".join(number.values())
        self.date = release_date(self.version)
        self.statuses = re.findall(r'\bX\((E\w+), (-?\d+), (\w+), "([^"]*)"\)', self.text)
        self.head = clean_comment(re.search(r"/\*(.*?)\*/", self.text, re.S)[1]).split("\n\n", 2)[2]
        self.functions = list(find_functions(self.text))

    def type_of(self, name):
        m = re.search(rf"^typedef struct(?: {name})? \{{(?:(?!^typedef).)*?^\}} {name};", self.text, re.S | re.M)
        return m[0] if m else ""

    def enums(self):
        """Statuses apart, the constants of the API as they stand."""
        part = self.text[self.text.index("/* ---- values"): self.text.index("typedef struct {                            /* a piece")]
        return part[part.index("\n"):].strip()


def release_date(version):
    """What SOURCE_DATE_EPOCH says, else the version's date in the change log: the same sources make the same pages."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is not None:
        if not re.fullmatch(r"\d{1,11}", epoch):
            sys.exit(f"SOURCE_DATE_EPOCH: {epoch!r} is no number of seconds since 1970")
        return time.strftime("%Y-%m-%d", time.gmtime(int(epoch)))
    m = re.search(rf"^## {re.escape(version)}\b.* (\d{{4}}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if not m:
        sys.exit(f'CHANGELOG.md: no line "## {version}, YEAR-MONTH-DAY" that says of when version {version} is')
    return m[1]


def clean_comment(text):
    return "\n".join(re.sub(r"^ \* ?", "", line).rstrip() for line in text.strip("\n").splitlines()).strip()


def find_functions(text):
    """A comment that ends on the line above a prototype belongs to it."""
    section, comment = "", ""
    pattern = r"/\*(.*?)\*/[ \t]*(\n?)|^(?:WEFT_API)\b([^;]*);|^[^\s/][^\n]*$"
    for m in re.finditer(pattern, text, re.S | re.M):
        if m[1] is not None:
            title = re.match(r" ---- (.*?) -+ $", m[1])
            section = title[1] if title else section
            comment = "" if title else clean_comment(m[1])
        elif m[3]:
            prototype = " ".join(m[3].split())
            name = re.search(r"(weft_\w+)\(", prototype)[1]
            if not comment:
                sys.exit(f"weft.h: {name}() has no comment: write what it does above its prototype")
            yield Function(name, prototype, comment, section)
            comment = ""
        else:
            comment = ""


# ---- writing roff ---------------------------------------------------------------------------------------------------


def plain(text):
    """Text that roff leaves alone."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.M)


def rich(text):
    """Functions, constants and parameters stand out."""
    text = plain(text)
    text = re.sub(r"\b(weft_\w+)\(\)", r"\\fB\1\\fP(3)", text)
    text = re.sub(r"\b(WEFT_\w+)", r"\\fB\1\\fP", text)
    text = re.sub(r"(?<!\w)@(\w+)", r"\\fI\1\\fP", text)
    return re.sub(r"(?<![\w*])\*(\w+)", r"*\\fI\1\\fP", text)


def literal(text):
    return ".nf\n" + plain(text.expandtabs(8)) + "\n.fi"


def paragraphs(text):
    """Paragraphs are filled; a list of indented lines, "  WORD   what it means", becomes one."""
    out = []
    for part in text.split("\n\n"):
        filled, items = [], []
        for line in part.splitlines():
            item = re.match(r"^ {2}(\S.*?) {2,}(\S.*)$", line)
            if item:
                items.append([item[1], item[2]])
            elif items and line.startswith("   "):
                items[-1][1] += " " + line.strip()
            elif items:
                out.append(roff_text(filled) + roff_list(items))
                filled, items = [line], []
            else:
                filled.append(line)
        out.append(roff_text(filled) + roff_list(items))
    return "\n".join(s.strip("\n") for s in out if s)


def roff_text(lines):
    return ".PP\n" + rich("\n".join(s.strip() for s in lines)) if lines else ""


def roff_list(items):
    return "".join(f"\n.TP\n{bold(word)}\n{rich(text)}" for word, text in items)


def bold(text):
    return f"\\fB{plain(text)}\\fP"


def page(name, section, header, about, parts):
    """@parts: (title, roff). The first paragraph of a section needs no .PP."""
    title = {1: "User Commands", 3: "Library Functions", 7: "Miscellaneous"}[section]
    lines = [f'.TH {name.upper()} {section} "{header.date}" "weft {header.version}" "{title}"', ".SH NAME", f"{name} \\- {plain(about.replace('@', ''))}"]
    for head, body in parts:
        if body:
            lines += [f'.SH "{head}"', re.sub(r"\A\s*\.PP\n", "", body.strip("\n"))]
    return "\n".join(lines) + "\n"


# ---- weft_*(3) ------------------------------------------------------------------------------------------------------


def synopsis(fn):
    """The prototype over several lines where it is long."""
    before, arguments = fn.prototype.split("(", 1)
    lines, line = [], before + "("
    for argument in arguments.split(", "):
        if len(line) + len(argument) > 70:
            lines.append(line.rstrip())
            line = " " * 8
        line += argument + (", " if not argument.endswith(")") else ";")
    return ".nf\n#include <weft/weft.h>\n.PP\n" + "\n".join(bold(s) for s in [*lines, line.rstrip()]) + "\n.fi"


def return_value(fn, header):
    answers = header.head[header.head.index("  WEFT_OK"):].split("\n\n")[0]
    text = paragraphs(fn.returns) if fn.returns else ""
    if fn.posts:
        text += ("" if "every posting call" in " ".join(text.split()) else "\n.PP\nReturns as every posting call.") + "\n" + paragraphs(answers)
    elif not text and re.match(r"void (?!\*)", fn.prototype):
        text = "None."
    elif not text:
        text = "What the description says." if not fn.prototype.startswith("int ") else \
            "\\fBWEFT_OK\\fP, or a negative status: see \\fBweft\\fP(7) and \\fBweft_last_error\\fP(3)."
    return text


def named_statuses(fn, header):
    """With a posting call go those of weft_send(), whose comment says so."""
    text = fn.returns + fn.says + (next(f for f in header.functions if f.name == "weft_send").returns if fn.posts else "")
    rows = [(name, what) for name, _, _, what in header.statuses if re.search(rf"\bWEFT_{name}\b", text)]
    return "".join(f".TP\n\\fBWEFT_{name}\\fP\n{plain(what)}\n" for name, what in rows)


def shown_types(fn, header):
    names = [t for t in SHOWN_TYPES if re.search(rf"\b{t}\b", fn.prototype)]
    if "weft_call" in names and "weft_event" not in names:
        names.insert(names.index("weft_call") + 1, "weft_event")
    return literal("\n\n".join(header.type_of(t) for t in names)) if names else ""


def see_also(fn, header):
    family = [f.name for f in header.functions if f.section == fn.section and f is not fn]
    return ",\n".join([".BR weft (7)"] + [f".BR {name} (3)" for name in family]).replace("),\n", "),\n").replace(",\n.BR", " ,\n.BR")


def function_page(fn, header):
    return page(fn.name, 3, header, fn.sentence(), [
        ("SYNOPSIS", synopsis(fn)),
        ("DESCRIPTION", paragraphs(fn.says or fn.returns)),
        ("RETURN VALUE", return_value(fn, header)),
        ("ERRORS", named_statuses(fn, header)),
        ("TYPES", shown_types(fn, header)),
        ("SEE ALSO", see_also(fn, header)),
    ])


# ---- weft(7), weft(1) -----------------------------------------------------------------------------------------------


def function_list(header):
    out, section = "", None
    for fn in header.functions:
        if fn.section != section:
            section = fn.section
            out += f'.SS "{plain(section[0].upper() + section[1:])}"\n'
        out += f".TP\n.BR {fn.name} (3)\n{rich(fn.sentence())}\n"
    return out


def settings_list(path):
    out = ".PP\nNone is needed. The variable is the key in capitals after WEFT_; a file that the variable WEFT_CONFIG names\n" \
          "holds lines \"key = value\".\n"
    for row in path.read_text().splitlines():
        m = re.match(r"\| `(\w+)` \| `\w+` \| `?(.*?)`? \| (.*?) \| (.*) \|$", row)
        if m:
            out += f".TP\n{bold(m[1])} (default: {plain(m[2])}; {plain(m[3])})\n{plain(m[4])}\n"
    return out


def overview_page(header, settings):
    statuses = "".join(f".TP\n\\fBWEFT_{name}\\fP ({value}, {scope.lower()})\n{plain(what)}\n"
                       for name, value, scope, what in header.statuses)
    return page("weft", 7, header, "messages between processes, over shared memory and TCP", [
        ("SYNOPSIS", ".nf\n#include <weft/weft.h>\n.PP\ncc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs weft)\n.fi"),
        ("DESCRIPTION", paragraphs(header.head)),
        ("FUNCTIONS", function_list(header)),
        ("STATUSES", ".PP\nWith their value and what a failure breaks.\n" + statuses),
        ("CONSTANTS", literal(header.enums())),
        ("SETTINGS", settings_list(settings)),
        ("SEE ALSO", ".BR weft (1)"),
    ])


def tool_page(header, usage):
    """`weft --help`: a head stands between an empty line and its options, which are indented by two, their texts by more; or
    "usage:" with a line for each form of a command."""
    usage = re.sub(r"(?<=\n\n)usage: (weft \w+).*\n(?: {7}\S.*\n)*",
                   lambda m: f"{m[1]}:\n" + re.sub(r"^(usage:| {6}) ", "  ", m[0], flags=re.M), usage)
    heads = re.split(r"(?<=\n\n)(\S.*):\n(?=  )", usage)
    parts, examples = [], heads[0].strip()
    for head, body in zip(heads[1::2], heads[2::2]):
        text = re.sub(r"^ {2}(--\S+ [^ ].*?|\S.*?)(?: {2,}| (?=for ))(\S)", r"  \1   \2", body, flags=re.M)
        parts.append((head[0].upper() + head[1:], paragraphs(text.strip("\n"))))
    commands = parts.pop(0)
    options = "".join(f'\n.SS "{plain(head)}"\n' + re.sub(r"\A\s*(\.PP\n)?", "", body) for head, body in parts)
    return page("weft", 1, header, "looks at transports, machine and connections, and measures", [
        ("SYNOPSIS", ".B " + plain(examples.removeprefix("usage: "))),
        ("DESCRIPTION", commands[1]),
        ("OPTIONS", options),
        ("ENVIRONMENT", "Every setting can be given as a variable: see SETTINGS in\n.BR weft (7)."),
        ("SEE ALSO", ".BR weft (7)"),
    ])


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--out", type=Path, required=True, help="folder; man1, man3 and man7 are made in it")
    ap.add_argument("--header", type=Path, default=ROOT / "include/weft/weft.h")
    ap.add_argument("--settings", type=Path, default=ROOT / "docs/SETTINGS.md")
    ap.add_argument("--tool", help="command that runs the program weft; without it there is no weft(1)")
    o = ap.parse_args()
    header = Header(o.header)
    pages = {f"man3/{fn.name}.3": function_page(fn, header) for fn in header.functions}
    pages["man7/weft.7"] = overview_page(header, o.settings)
    if o.tool:
        usage = subprocess.run([*shlex.split(o.tool), "--help"], capture_output=True, text=True, check=True).stdout
        pages["man1/weft.1"] = tool_page(header, usage)
    for name, text in pages.items():
        (o.out / name).parent.mkdir(parents=True, exist_ok=True)
        (o.out / name).write_text(text)
    print(f"  {o.out}: {len(pages)} man pages")


if __name__ == "__main__":
    main()
