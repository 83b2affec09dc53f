#!/usr/bin/env python3
"""The ten longest functions and files against budget.txt: they may only shrink without a reason given; and the bytes of
the tiny checkpoints of all families, which are to stay under 12 MB.

usage: check_budget.py [--write]   (--write replaces budget.txt; say why in the commit that does so)"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUDGET = ROOT / "budget.txt"
CHECKPOINTS, CHECKPOINT_BYTES = ("model", "encoder"), 12_000_000  # folders of tests/fixtures


def functions(path):
    """(name, lines) of each function: a definition starts in column 0, ends in a brace in column 0."""
    name, start = None, 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if name is None and re.match(r"^[A-Za-z_].*[({,]$", line) and "(" in line and not line.startswith("#"):
            found = re.search(r"(\w+)\(", line)
            name, start = (found.group(1), number) if found else (None, 0)
        if name and line.startswith("}"):
            yield name, number - start + 1
            name = None
        elif name and line.endswith(";") and not line.startswith(" "):
            name = None  # a declaration


def measure():
    files, longest = [], []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        where = str(path.relative_to(ROOT))
        files.append((len(path.read_text().splitlines()), where))
        longest += [(lines, f"{where}:{name}") for name, lines in functions(path)]
    return sorted(files, reverse=True)[:10], sorted(longest, reverse=True)[:10]


def checkpoint_bytes():
    folders = [ROOT / "tests/fixtures" / name for name in CHECKPOINTS]
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def main():
    files, longest = measure()
    text = "".join(f"file {n} {w}\n" for n, w in files) + "".join(f"function {n} {w}\n" for n, w in longest)
    if "--write" in sys.argv:
        BUDGET.write_text(text)
        return 0
    allowed = {"file": [], "function": []}
    for line in BUDGET.read_text().splitlines():
        kind, lines, _ = line.split()
        allowed[kind].append(int(lines))
    problems = 0
    for kind, rows in (("file", files), ("function", longest)):
        for rank, (lines, where) in enumerate(rows):
            if rank < len(allowed[kind]) and lines > allowed[kind][rank]:
                print(f"{where} has {lines} lines; the budget for the {kind} of rank {rank + 1} is {allowed[kind][rank]}")
                problems += 1
    size = checkpoint_bytes()
    if size >= CHECKPOINT_BYTES:
        print(f"tests/fixtures/model and encoder hold {size:,} bytes, expected less than {CHECKPOINT_BYTES:,}: make what is "
              "new smaller (layers, vocabulary, width)")
        problems += 1
    print(f"budget: {problems} over; longest file {files[0][0]}, longest function {longest[0][0]}, checkpoints {size:,} bytes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
