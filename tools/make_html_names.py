#!/usr/bin/env python3
"""The named characters of HTML, as Python's html.unescape knows them: src/text/html_names.inc.

    python3 tools/make_html_names.py
"""

import html.entities
import pathlib

PATH = pathlib.Path(__file__).resolve().parent.parent / "src/text/html_names.inc"
HEAD = """/* Written by tools/make_html_names.py: the named characters of HTML, by their first letters. Read by
 * jinja_unescape.c alone. */
/* Of each letter from A to z: names without the letter and what they stand for, by turns, each ended by a NUL; an empty
 * name is the last. A name without its semicolon stands for the same where both are there. */
static const char *const html_names['z' - 'A' + 1] = {
"""


def quoted(text):
    """Bytes beyond ASCII as octal digits, three each, so that nothing behind them is read as one more."""
    return "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())


def rows(letter):
    names = sorted(name for name in html.entities.html5 if name[0] == letter)
    line, lines = "", []
    for name in names:
        part = f"{quoted(name[1:])}\\000{quoted(html.entities.html5[name])}\\000"
        if len(line) + len(part) > 110:
            lines.append(line)
            line = ""
        line += part
    return lines + [line]


def main():
    letters = sorted({name[0] for name in html.entities.html5})
    made = ""
    for letter in letters:
        lines = "\n".join(f'        "{line}"' for line in rows(letter))
        made += f"    ['{letter}' - 'A'] =\n{lines},\n"
    PATH.write_text(HEAD + made + "};\n")


if __name__ == "__main__":
    main()
