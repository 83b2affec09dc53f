#!/usr/bin/env python3
"""Checks what the compiler cannot: the dependency order of the rooms, unique file names, headers that compile alone,
family names outside model/, device names outside backend/ and build/, and paths and links in documents.

An arrow reads "may include", and what that may include."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARROWS = {
    "base": [], "format": ["base"], "text": ["format"], "image": ["base"], "http": ["base"], "load": ["http"], "doctor": ["http"], "hub": ["base"], "pull": ["hub", "http"], "plan": ["base"],
    "backend": ["plan"], "schedule": ["plan"], "model": ["plan", "format"],
    "engine": ["backend", "format", "plan"], "build": ["engine", "model", "text"],
    "runtime": ["engine", "schedule", "text", "image"], "lib": ["build", "runtime", "hub"],
    "server": ["http"], "cli": ["server", "load", "doctor", "pull"],
}
FAMILIES = r"\b(llama|mistral|mixtral|qwen\d?|gemma\d?|phi\d?|smollm\d?|deepseek|falcon|gpt2|bert)\b"
DEVICES = r"\b(cuda|nvidia|hopper|avx\w*|neon|vnni|x86|aarch64)\b"


def allowed(room, seen=None):
    seen = set() if seen is None else seen
    if room not in seen:
        seen.add(room)
        for below in ARROWS[room]:
            allowed(below, seen)
    return seen


def sources(room):
    return sorted(p for p in (ROOT / "src" / room).rglob("*") if p.suffix in (".c", ".h"))


def code_of(text):
    """The text without comments and string literals: names in messages to people are fine."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def check_includes(problems):
    for room in ARROWS:
        may = allowed(room)
        for path in sources(room):
            for target in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), flags=re.M):
                other = target.split("/")[0]
                if target in ("spate.h", "spate_embed.h", "spate_image.h", "spate_lora.h", "spate_text.h", "spate_tools.h"):
                    if room not in ("lib", "server", "cli"):
                        problems.append(f"{path.relative_to(ROOT)} includes {target}, which {room}/ may not")
                elif other not in may:
                    problems.append(f"{path.relative_to(ROOT)} includes {target}: {room}/ may not include {other}/")


def check_names(problems):
    seen = {}
    for path in (ROOT / "src").rglob("*"):
        if path.suffix in (".c", ".h"):
            if path.name in seen:
                problems.append(f"{path.relative_to(ROOT)} and {seen[path.name]} have the same name")
            seen[path.name] = path.relative_to(ROOT)


def check_words(problems):
    for room in ("backend", "engine", "schedule", "runtime"):
        for path in sources(room):
            for word in re.findall(FAMILIES, code_of(path.read_text()), flags=re.I):
                problems.append(f"{path.relative_to(ROOT)} names a model family: {word}")
    for room in ARROWS:
        if room in ("backend", "build", "cli"):
            continue
        for path in sources(room):
            if path.name != "target.c":
                for word in re.findall(DEVICES, code_of(path.read_text()), flags=re.I):
                    problems.append(f"{path.relative_to(ROOT)} names a device: {word}")


def check_headers(problems):
    headers = [p for room in ARROWS for p in sources(room) if p.suffix == ".h"
               and "template" not in p.name and not p.name.startswith("vector_")]  # one of each per translation unit
    headers += sorted((ROOT / "include").glob("*.h"))
    shared = [p for p in headers if p.parent.parent.name != "backend"]  # each backend has its own struct program
    unit = "".join(f'#include "{p}"\n' for p in shared)  # together: no clashes; then each alone
    flags = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", "-I", str(ROOT / "src"), "-I",
             str(ROOT / "include"), "-x", "c", "-"]
    for header in headers:
        if subprocess.run(flags, input=f'#include "{header}"\n'.encode(), capture_output=True).returncode != 0:
            problems.append(f"{header.relative_to(ROOT)} does not compile alone")


def check_paths(problems):
    """What documents name is there: paths in backquotes from the root, links from the document's folder."""
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tools").glob("*.md")]:
        text = path.read_text()
        named = [ROOT / n for n in re.findall(r"`((?:src|include|tests|tools|bench|docs|scripts|examples)/[\w./-]*)`", text)]
        linked = [path.parent / n for n in re.findall(r"\]\(([^)#:]+)\)", text)]
        for target in named + linked:
            if not target.exists():
                problems.append(f"{path.relative_to(ROOT)} names {target.relative_to(ROOT)}, which does not exist")


def main():
    problems = []
    for check in (check_includes, check_names, check_words, check_headers, check_paths):
        check(problems)
    for problem in problems:
        print(problem)
    print(f"order: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
