#!/usr/bin/env python3
"""Options multiply unless watched: each of src/cli/option.c has a reader outside the table, a line of help, and a test
that gives it."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ENTRY = re.compile(r'\{"([a-z-]+)", (\S+), OPTION_\w+, [^,]+?, (?:PLAIN|MARKED)\((\w+)\),\s*(?:"[^"]*"|0),\s*"([^"]*)')


def main():
    options = ENTRY.findall((ROOT / "src/cli/option.c").read_text())
    readers = "".join(p.read_text() for p in (ROOT / "src/cli").glob("*.c") if not p.name.startswith("option"))
    tests = "".join(p.read_text() for p in (ROOT / "tests").rglob("*") if p.suffix in (".py", ".c"))
    problems = 0
    for name, letter, field, help_line in options:
        for wrong, what in ((not re.search(rf"\b(?:s|settings|settings\.)(?:->|\.)?{field}\b", readers), "no reader"),
                            (not help_line, "no line of help"),
                            (f'"--{name}"' not in tests, "no test that gives it")):
            if wrong:
                print(f"--{name} has {what}")
                problems += 1
    print(f"options: {len(options)}, {problems} problems")
    return 1 if problems or len(options) < 30 else 0


if __name__ == "__main__":
    sys.exit(main())
