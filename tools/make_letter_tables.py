#!/usr/bin/env python3
"""What Python knows of characters beyond their category: src/text/letter_tables.h.

    python3 tools/make_letter_tables.py
"""

import pathlib
import unicodedata

PATH = pathlib.Path(__file__).resolve().parent.parent / "src/text/letter_tables.h"
HEAD = """#ifndef SPATE_TEXT_LETTER_TABLES_H
#define SPATE_TEXT_LETTER_TABLES_H

#include <stdint.h>

struct letter_range {
  uint32_t first, last;
};
struct special_case {
  uint32_t code, upper[3], title[3]; /* ended by a 0 where shorter */
};

"""
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def ranges(is_in):
    found = []
    for code in (ord(c) for c in CHARACTERS if is_in(c)):
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table(name, comment, rows):
    return f"/* {comment} */\nstatic const {name}[] = {{\n" + "".join(f"    {row},\n" for row in rows) + "};\n"


def range_table(name, comment, is_in):
    return table(f"struct letter_range {name}", comment, (f"{{0x{a:X}, 0x{b:X}}}" for a, b in ranges(is_in)))


def letters(text):
    return "{" + ", ".join(f"0x{ord(c):X}" for c in text) + "}"


def main():
    category = unicodedata.category
    special = [c for c in CHARACTERS if len(c.upper()) > 1]
    PATH.write_text(
        "/* Written by tools/make_letter_tables.py: what Python knows of characters beyond their category. */\n"
        + HEAD
        + table("struct special_case special_cases", "Letters whose capital is more than one: it, and at the start of a word.",
                (f"{{0x{ord(c):X}, {letters(c.upper())}, {letters(c.title())}}}" for c in special))
        + range_table("other_lower", "Small beside those of category Ll.", lambda c: c.islower() and category(c) != "Ll")
        + range_table("other_upper", "Capital beside those of category Lu.", lambda c: c.isupper() and category(c) != "Lu")
        + range_table("other_digits", "Digits beside those of category Nd.", lambda c: c.isdigit() and category(c) != "Nd")
        + range_table("other_numbers", "Numbers beside those of categories Nd, Nl and No.",
                      lambda c: c.isnumeric() and category(c) not in ("Nd", "Nl", "No"))
        + "\n#endif\n")


if __name__ == "__main__":
    main()
