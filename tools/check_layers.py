#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""check_layers.py - the walls of the house, checked: who includes whom, how long files and functions are, which symbols
the library takes and shows. Prints TAP, one test for each wall. Only the source walls run when nothing was built.

Functions that were too long when the wall was put up stand in tools/long_functions.txt with their length; they may
shrink, not grow. `tools/check_layers.py --ratchet` writes that file anew.
"""
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATCHET = ROOT / "tools/long_functions.txt"
FILE_LINES = 800
FUNCTION_LINES = 70

# folder -> what it may include by path from src/ ("=" stands for the folder itself)
MAY_SEE = {
    "src/base": ["=", "weft/"],
    "src/os": ["=", "base/", "weft/"],
    "src/wire": ["=", "base/", "weft/"],
    "src/gpu": ["=", "os/", "base/", "weft/"],
    "src/core": ["=", "wire/", "gpu/", "os/", "base/", "weft/"],
    "src/transports/*": ["=", "core/transport.h", "gpu/", "os/", "base/", "weft/"],
    "src/py": ["=", "weft/weft.h"],
    "src/mpi": ["=", "weft/weft.h"],
    "perftest": ["=", "weft/weft.h", "transports/verbs/ibv.h"],  # libibverbs as it is, nothing of ours
    "docs/examples": ["weft/weft.h"],
    "tests/conform": ["=", "lib/", "weft/weft.h"],
}
# What several transports are made of: who may include it beside the above.
SHARED_BY = {"transports/fabric/": ["src/transports/ofi", "src/transports/ucx"]}
LIBRARY = tuple(f"src/{d}/" for d in ("base", "os", "wire", "gpu", "core", "transports"))
REGISTRY = "src/core/registry.c"  # the one file of core that names transports

# System headers that base and wire may use: none of them can do I/O (stdio.h is for snprintf; see SYMBOLS).
PURE_HEADERS = set(
    "assert ctype emmintrin errno inttypes limits math stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib string strings"
    .split()
) | {"sys/uio", "sys/types"}

# Never in libweft.so: it does not end or signal the process, print, fork, start threads or take over the allocator.
FORBIDDEN = """abort exit _exit _Exit quick_exit atexit raise kill signal sigaction sigprocmask pthread_sigmask __assert_fail
__assert printf puts putchar vprintf fprintf vfprintf fputs fputc fwrite perror stdout stderr __printf_chk __fprintf_chk
__vfprintf_chk syslog fork vfork clone posix_spawn system popen pthread_create thrd_create pthread_atfork sleep usleep
__malloc_hook shm_open sem_open""".split()
INTERPOSED = "malloc calloc realloc free memalign aligned_alloc posix_memalign mmap munmap mremap madvise brk sbrk dlopen".split()

# What wire's objects may ask of others: text, memory, base.
PURE_SYMBOL = re.compile(
    r"^(wf_\w+|weft_\w+|mem\w+|str\w+|bcmp|v?snprintf|__\w+_chk|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__errno_location|"
    r"__ctype_\w+|__isoc99_\w+|__tls_get_addr|malloc|calloc|realloc|free|posix_memalign|abs|qsort|bsearch|tolower|toupper|"
    r"__xpg_strerror_r|__u?(div|mod)ti3|__(asan|ubsan|tsan|gcov|sanitizer)\w*)$"
)
RAW_ALLOC = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup|asprintf|vasprintf|posix_memalign)\s*\(")


class Walls:
    def __init__(self):
        self.results = []

    def add(self, name, faults, skip=None):
        self.results.append((name, list(faults), skip))

    def print_tap(self):
        print(f"1..{len(self.results)}")
        for i, (name, faults, skip) in enumerate(self.results, 1):
            for fault in faults:
                print(f"# {fault}")
            if skip:
                print(f"# skip: {skip}\nok {i} - {name} # SKIP {skip}")
            else:
                print(f"{'not ' if faults else ''}ok {i} - {name}")
        return 1 if any(faults for _, faults, _ in self.results) else 0


def rel(path):
    return path.relative_to(ROOT).as_posix()


def files(*patterns):
    return sorted(p for pat in patterns for p in ROOT.glob(pat) if p.is_file())


def our_files():
    """What git tracks or would track; all files where there is no git."""
    out = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if out.returncode:
        return [p for p in files("**/*") if "build" not in p.parts and ".git" not in p.parts]
    return [p for p in (ROOT / n for n in out.stdout.decode().split("\0") if n) if p.is_file()]


def strip_comments(text):
    """Comments and string contents become blanks; line numbers stay."""

    def blank(m):
        return re.sub(r"[^\n]", " ", m[0]) if m[0][0] == "/" else m[0][0] + " " * (len(m[0]) - 2) + m[0][-1]

    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


# ---- sources --------------------------------------------------------------------------------------------------------


def check_includes():
    for pattern, allowed in MAY_SEE.items():
        for folder in sorted(ROOT.glob(pattern)):
            if not folder.is_dir():
                continue
            own = rel(folder).removeprefix("src/").removeprefix("tests/") + "/"
            shared = [part for part, users in SHARED_BY.items() if rel(folder) in users]
            for path in sorted(folder.glob("**/*.[ch]")):
                yield from check_file_includes(path, [own if a == "=" else a for a in allowed] + shared)


def check_file_includes(path, allowed):
    for n, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not m:
            continue
        where, name = f"{rel(path)}:{n}", m[2]
        if m[1] == "<" and name == "weft/weft.h":
            continue
        if m[1] == "<":
            pure = rel(path).startswith(("src/base/", "src/wire/"))
            if pure and name.removesuffix(".h") not in PURE_HEADERS:
                yield f"{where}: <{name}>: this folder makes no system call"
            continue
        if ".." in name:
            yield f'{where}: "{name}": include by path from src/'
        elif rel(path) == REGISTRY and name.startswith("transports/"):
            continue
        elif "/" not in name and (path.parent / name).exists() and not rel(path).startswith(LIBRARY):
            continue  # its neighbour; inside the library paths go from src/
        elif not any(name.startswith(a) for a in allowed):
            yield f'{where}: "{name}": may see only {", ".join(allowed)}'


def check_allocation():
    for path in files("src/os/*.[ch]", "src/wire/*.[ch]", "src/core/*.[ch]", "src/gpu/*.[ch]", "src/transports/*/*.[ch]"):
        for n, line in enumerate(strip_comments(path.read_text(errors="replace")).splitlines(), 1):
            m = RAW_ALLOC.search(line)
            if m:
                yield f"{rel(path)}:{n}: {m[1]}(): allocate through base/fault.h"


def check_heads():
    for path in our_files():
        if path.suffix in (".c", ".h", ".py", ".sh") or rel(path) in ("Makefile", "tools/setup"):
            head = path.read_text(errors="replace")[:400]
            if head.strip() and "SPDX-License-Identifier: BSD-3-Clause" not in head:
                yield f"{rel(path)}: no SPDX-License-Identifier line"


def check_file_lengths():
    for path in our_files():
        if path.suffix in (".c", ".h", ".py"):
            n = path.read_text(errors="replace").count("\n")
            if n > FILE_LINES:
                yield f"{rel(path)}: {n} lines; {FILE_LINES} at most"


def check_machine_paths():
    word = re.compile(r"(?<![\w.])/(?:" + "root|home|work" + r")/\w")
    for path in our_files():
        if path.suffix in (".c", ".h", ".py", ".sh", ".md", ".toml", ".in", ".txt") or not path.suffix:
            for n, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if word.search(line):
                    yield f"{rel(path)}:{n}: names a path of one machine: {line.strip()[:80]}"


def functions_of(path):
    """(name, lines) of each function: from the line with its name to the brace in the first column that ends it."""
    lines = strip_comments(path.read_text(errors="replace")).splitlines()
    for i, line in enumerate(lines):
        if line != "{":
            continue
        start = i
        while start > 0 and lines[start - 1].strip() and not re.match(r"^(}|.*;\s*$|#)", lines[start - 1]):
            start -= 1
        head = " ".join(lines[start:i])
        name = re.search(r"(\w+)\s*\(", head)
        end = next((j for j in range(i, len(lines)) if re.match(r"^}", lines[j])), len(lines) - 1)
        if name and end:
            yield name[1], end - start + 1


def long_functions():
    for path in files("src/**/*.c", "perftest/**/*.c", "docs/examples/*.c", "tools/*.c"):
        for name, n in functions_of(path):
            if n > FUNCTION_LINES:
                yield rel(path), name, n


def check_function_lengths():
    known = {}
    if RATCHET.exists():
        rows = [s.split() for s in RATCHET.read_text().splitlines() if s and s[0] != "#"]
        known = {(r[0], r[1]): int(r[2]) for r in rows}
    for path, name, n in long_functions():
        if n > known.get((path, name), FUNCTION_LINES):
            yield f"{path}: {name}() has {n} lines; {known.get((path, name), FUNCTION_LINES)} at most"


def write_ratchet():
    rows = [f"{path} {name} {n}\n" for path, name, n in long_functions()]
    RATCHET.write_text("# Functions above 70 lines: file, name, lines. They may shrink, not grow.\n" + "".join(rows))
    print(f"{len(rows)} long functions")


# ---- symbols --------------------------------------------------------------------------------------------------------


def nm(*args):
    out = subprocess.run(["nm", *map(str, args)], capture_output=True, text=True)
    return [s.split()[-1].split("@")[0] for s in out.stdout.splitlines() if s.split() and not s.rstrip().endswith(":")]


def check_taken(build):
    for name in sorted(set(nm("-D", "--undefined-only", build / "libweft.so")) & set(FORBIDDEN)):
        users = [rel_obj(p, build) for p in sorted((build / "obj/src").glob("**/*.o")) if name in nm("--undefined-only", p)]
        yield f"libweft.so uses {name}() in {', '.join(users) or '?'}"


def rel_obj(path, build):
    return path.relative_to(build / "obj").with_suffix(".c").as_posix()


def check_interposed(build):
    for name in sorted(set(nm("-g", "--defined-only", build / "libweft.a")) & set(INTERPOSED)):
        yield f"libweft.a defines {name}()"


def check_shown(build):
    header = strip_comments((ROOT / "include/weft/weft.h").read_text())
    declared = set(re.findall(r"WEFT_API\b[^;(]*?\b(weft_\w+)\s*\(", header))
    shown = {s for s in nm("-D", "--defined-only", build / "libweft.so") if not s.startswith("WEFT_")}
    yield from (f"weft.h declares {s}(), libweft.so has it not" for s in sorted(declared - shown))
    yield from (f"libweft.so shows {s}, weft.h declares it not" for s in sorted(shown - declared))


def check_pure(build):
    for folder in ("wire", "base"):
        for path in sorted((build / "obj/src" / folder).glob("*.o")):
            if not (ROOT / rel_obj(path, build)).exists():
                continue  # of a source that is gone
            for name in nm("--undefined-only", path):
                if not PURE_SYMBOL.match(name):
                    yield f"{rel_obj(path, build)} uses {name}()"


def check_settings_page(build):
    made = subprocess.run([build / "gen_settings"], capture_output=True, text=True).stdout
    page = ROOT / "docs/SETTINGS.md"
    if not page.exists() or page.read_text() != made:
        yield "docs/SETTINGS.md is not what the table says: run `make docs`"


def check_header_language(compiler, *flags):
    """weft.h alone, as C11 and as C++11, without a word from the compiler."""
    header = ROOT / "include/weft/weft.h"
    run = subprocess.run([compiler, *flags, "-fsyntax-only", "-Wall", "-Wextra", "-pedantic", "-Werror", header],
                         capture_output=True, text=True)
    return run.stderr.splitlines()


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--build", type=Path, default=ROOT / "build")
    ap.add_argument("--ratchet", action="store_true", help="write tools/long_functions.txt anew")
    o = ap.parse_args()
    o.build = o.build.resolve()
    if o.ratchet:
        return write_ratchet()
    walls = Walls()
    walls.add("each folder includes only what it may see", check_includes())
    walls.add("memory is allocated through base/fault.h", check_allocation())
    walls.add("each file says its licence", check_heads())
    walls.add(f"no file has more than {FILE_LINES} lines", check_file_lengths())
    walls.add(f"no function has more than {FUNCTION_LINES} lines", check_function_lengths())
    walls.add("no file names a path of one machine", check_machine_paths())
    missing = None if (o.build / "libweft.so").exists() else "the library was not built"
    for name, check in (
        ("the library ends, signals, prints, forks and threads nothing", check_taken),
        ("the library takes over no allocator", check_interposed),
        ("the library shows weft.h, and nothing else", check_shown),
        ("base and wire make no system call", check_pure),
    ):
        walls.add(name, [] if missing else check(o.build), missing)
    missing = None if shutil.which("clang") else "clang is not installed"
    for language, flags in (("C11", ("-x", "c", "-std=c11")), ("C++11", ("-x", "c++", "-std=c++11"))):
        walls.add(f"weft.h is {language}", [] if missing else check_header_language("clang", *flags), missing)
    missing = None if (o.build / "gen_settings").exists() else "gen_settings was not built"
    walls.add("docs/SETTINGS.md is up to date", [] if missing else check_settings_page(o.build), missing)
    return walls.print_tap()


if __name__ == "__main__":
    sys.exit(main())
