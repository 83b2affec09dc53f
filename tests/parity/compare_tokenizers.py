#!/usr/bin/env python3
"""Ids and texts of each family's tokenizer beside the PyPI package `tokenizers` on random and adversarial strings.

    compare_tokenizers.py [NAME...]      TOKENIZE_TEXTS: the program; TOKENIZER_TEXTS: strings a family (2000)
"""
import importlib.util
import os
import pathlib
import random
import struct
import subprocess
import sys
import unicodedata

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures" / "text"
# What is left out, and why: names of bytes, which a Unigram model of the package takes for the bytes that they name; a
# sign that is punctuation since Unicode 14, which the package's own tables of BERT's pre-tokenizer do not have.
LEFT_OUT = {"unigram_bytes": ("<0x41>",)} | {name: ("\u061d",) for name in ("bert", "bert_cased", "wordpiece_apart", "openai_gpt", "falcon", "inner_prefix")}
# Characters whose script has changed since.
MOVED = ("\u0589", "\u061c", "\u0953", "\u0954")
# Models of which the same tokens in another order are as likely: the package's scores, which it rounds twice when it
# reads them, tell a few of these apart by their last bit.
TIES = ("xlmr", "t5", "unigram_bytes")
# Letters and signs of scripts that the fixtures have few of.
RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x600, 0x6FF), (0x900, 0x97F),
          (0xE01, 0xE5B), (0x1100, 0x11FF), (0x2000, 0x206F), (0x20A0, 0x2BFF), (0x3040, 0x30FF), (0x4E00, 0x9FFF),
          (0xAC00, 0xD7A3), (0xF900, 0xFAFF), (0xFF00, 0xFFEF), (0x1F300, 0x1F6FF), (0x20000, 0x2A6DF)]


def scriptless(texts):
    """Characters of today whose script the package does not know: its table is of an older Unicode."""
    from tokenizers import pre_tokenizers
    split = pre_tokenizers.UnicodeScripts()
    return tuple(c for c in set("".join(texts)) if unicodedata.category(c) not in ("Cn", "Co", "Zs")
                 and len(split.pre_tokenize_str(f"a{c}\u03b1")) == 2 and len(split.pre_tokenize_str(f"\u03b1{c}a")) == 2)


def unassigned(texts):
    """Characters that PCRE2's Unicode 14 (and this Python's) does not have, of which a regex of signs would tell."""
    return tuple(c for c in set("".join(texts)) if unicodedata.category(c) == "Cn")


def left_out(name, texts):
    if name == "scripts":
        return scriptless(texts) + MOVED
    return unassigned(texts) if name == "gemma4" else LEFT_OUT.get(name, ())


def fixtures_module():
    spec = importlib.util.spec_from_file_location("fixtures", HERE.parent.parent / "tools" / "make_tokenizer_fixtures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_text(rng, make, added):
    if rng.random() < 0.7:
        return make.adversarial(rng, added)
    low, high = rng.choice(RANGES)
    return "".join(chr(rng.randint(low, high)) if rng.random() < 0.8 else rng.choice(make.PIECES)
                   for _ in range(rng.randint(1, 40)))


def ours(command, texts):
    raw = [text.encode() for text in texts]
    done = subprocess.run(command, input=b"".join(struct.pack("<I", len(r)) + r for r in raw), stdout=subprocess.PIPE,
                          check=True)
    at, results = 0, []
    for _ in texts:
        (count,) = struct.unpack_from("<I", done.stdout, at)
        ids = list(struct.unpack_from(f"<{count}i", done.stdout, at + 4))
        at += 4 + 4 * count
        (size,) = struct.unpack_from("<I", done.stdout, at)
        results.append((ids, done.stdout[at + 4:at + 4 + size].decode()))
        at += 4 + size
    return results


def compare(name, program, make, count):
    from tokenizers import Tokenizer
    path = FIXTURES / f"{name}.tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    rng = random.Random(name + "/compare")
    texts = [random_text(rng, make, added) for _ in range(count)]
    for piece in left_out(name, texts):
        texts = [text.replace(piece, "") for text in texts]
    wrong = ties = 0
    for text, (ids, decoded), encoding in zip(texts, ours([program, path], texts), tokenizer.encode_batch(texts)):
        same_text = decoded == tokenizer.decode(encoding.ids)
        if ids != encoding.ids and same_text and name in TIES and sorted(ids) == sorted(encoding.ids):
            ties += 1
        elif ids != encoding.ids or not same_text:
            wrong += 1
            if wrong <= 3:
                print(f"{name}: {text!r}\n  here  {ids} {decoded!r}\n  there {encoding.ids} {tokenizer.decode(encoding.ids)!r}")
    print(f"{name}: {wrong} of {count} differ" + (f", {ties} are as likely a cut" if ties else ""))
    return wrong


def main():
    if not importlib.util.find_spec("tokenizers"):
        other = os.environ.get("SPATE_TEST_CLIENTS")
        if not other or os.environ.get("COMPARE_AGAIN"):
            print("SKIPPED: there is no package tokenizers; SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
            return 77
        return subprocess.run([other, *sys.argv], env=os.environ | {"COMPARE_AGAIN": "1"}).returncode
    program, make = os.environ["TOKENIZE_TEXTS"], fixtures_module()
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or list(make.FAMILIES)
    wrong = sum(compare(name, program, make, int(os.environ.get("TOKENIZER_TEXTS", 2000))) for name in names)
    print(f"{len(names)} families compared, {wrong} texts differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
