#!/usr/bin/env python3
"""Random tokenizer.json files, put together from every component that the PyPI package `tokenizers` has, beside that package:
ids and texts of adversarial strings, and texts of random ids.

    compare_pipelines.py [--count N] [--first SEED] [--keep FOLDER] [-v]     TOKENIZE_TEXTS: the program

A pipeline that is refused has to be refused by one of the sentences of REFUSED. PIPELINES: how many (1000).
"""
import argparse
import collections
import importlib.util
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MARK = "\u2581"
BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
REPLACEMENT = re.compile("\ufffd+")
# What may be refused, and why it is.
REFUSED = {
    "a fused text": "a text is shown while it is written: what looks at all of it would hold it back to its end",
    "behind ByteFallback": "the same for a run of bytes",
    "CTC decoder has to be the first": "repeats are those of ids",
    "more than two parts": "the package stops with 'not yet implemented'",
    "more than 4 ByteLevel": "each may double a text",
    "The end of a text changes": "more than 64 bytes of one token",
    "too many tokens": "of the post-processor: eight before a text and eight behind it",
}
BEHAVIORS = ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
SPLITS = ({"String": " "}, {"String": "a"}, {"String": "--"}, {"String": MARK}, {"String": "e\u0301"}, {"String": "."},
          {"Regex": r"\s+"}, {"Regex": r"\p{L}+"}, {"Regex": r"\p{N}{1,3}"}, {"Regex": " ?[^\\s]+"}, {"Regex": r"[a-f]+|\d"},
          {"Regex": r"'s|\p{P}"}, {"Regex": r"(?i:the)|\s+(?!\S)"}, {"Regex": "\\s*[\r\n]+"}, {"Regex": "^.|.$"}, {"Regex": "\u0120?\\w"})
REPLACED = (({"String": " "}, MARK), ({"String": MARK}, " "), ({"String": "a"}, "bb"), ({"String": "the"}, "T"),
            ({"String": "  "}, " "), ({"Regex": r"\s+"}, " "), ({"Regex": r" {2,}"}, MARK), ({"Regex": r"[0-9]"}, "0"),
            ({"Regex": r"\p{Lu}"}, ""), ({"String": "."}, ""), ({"Regex": "^ "}, ""))
WORDS = ("the", "The", "of", "a", "b", "ab", "aba", "I", "it's", "don't", "do not", "n't", "we've", "'m", "hello", "world", "x1", "12", "345",
         "caf\u00e9", "cafe\u0301", "\u00c5", "\u0130", "\u01c5", "\ufb01ne", "\u00df", "\u4f60\u597d", "\u3042\u30a2", "\u0436\u0443\u043a", "\U0001f600",
         "\u00bd", "\u0663", "a_b", "##a", "##", "@@b", "</w>", "a</w>", "<0x41>", "<0xe4>", "<pad>", "|", "<s>", "<m>", "[M]")
GAPS = (" ", " ", " ", "", "", "  ", "   ", "\n", "\t", "\u00a0", "\u3000", ".", ",", "!", "?", " .", " ' ", "-", "--", "...", MARK, MARK + MARK,
        "\u0120", "\u010a", "\u0301", "\u200d", "\x00", "\x7f", "\ufffd", "\u00ad", "$", "+")


def random_text(rng):
    text = "".join(rng.choice(WORDS) + rng.choice(GAPS) for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 8, 20))))
    if rng.random() < 0.3:
        text = rng.choice(GAPS) + text
    if rng.random() < 0.1:
        text += rng.choice(WORDS) * rng.randrange(2, 60)
    return text


# --- components ---------------------------------------------------------------------------------------------------------

def some(rng, make, key, type_name="Sequence"):
    """None, one component, or a sequence of some, which may hold another sequence."""
    count = rng.choice((0, 1, 1, 2, 2, 3, 4))
    if count == 0:
        return None
    parts = [make(rng) for _ in range(count)]
    if count > 2 and rng.random() < 0.2:
        parts[:2] = [{"type": type_name, key: parts[:2]}]
    return parts[0] if len(parts) == 1 and rng.random() < 0.8 else {"type": type_name, key: parts}


def flag(rng):
    return rng.random() < 0.5


def normalizer(rng):
    pattern, content = rng.choice(REPLACED)
    return rng.choice((
        lambda: {"type": "BertNormalizer", "clean_text": flag(rng), "handle_chinese_chars": flag(rng),
                 "strip_accents": rng.choice((None, True, False)), "lowercase": flag(rng)},
        lambda: {"type": "Strip", "strip_left": flag(rng), "strip_right": flag(rng)},
        lambda: {"type": rng.choice(("StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt"))},
        lambda: {"type": "ByteLevel"},
        lambda: {"type": "Prepend", "prepend": rng.choice((MARK, " ", "x", "ab "))},
        lambda: {"type": "Replace", "pattern": pattern, "content": content},
        lambda: {"type": "Replace", "pattern": {"String": " "}, "content": MARK}))()


def pre_tokenizer(rng):
    return rng.choice((
        lambda: {"type": "ByteLevel", "add_prefix_space": flag(rng), "trim_offsets": True, "use_regex": flag(rng)},
        lambda: {"type": "Metaspace", "replacement": rng.choice((MARK, MARK, MARK, "_")),
                 "prepend_scheme": rng.choice(("first", "always", "never")), "split": flag(rng)},
        lambda: {"type": "Split", "pattern": rng.choice(SPLITS), "behavior": rng.choice(BEHAVIORS), "invert": flag(rng)},
        lambda: {"type": "Punctuation", "behavior": rng.choice(BEHAVIORS)},
        lambda: {"type": "Digits", "individual_digits": flag(rng)},
        lambda: {"type": "CharDelimiterSplit", "delimiter": rng.choice((" ", "a", MARK, "."))},
        lambda: {"type": "FixedLength", "length": rng.randint(1, 6)},
        lambda: {"type": rng.choice(("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts"))}))()


def decoder(rng):
    pattern, content = rng.choice(REPLACED)
    return rng.choice((
        lambda: {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        lambda: {"type": "Metaspace", "replacement": rng.choice((MARK, MARK, "_")),
                 "prepend_scheme": rng.choice(("first", "always", "never")), "split": flag(rng)},
        lambda: {"type": "WordPiece", "prefix": rng.choice(("##", "@@")), "cleanup": flag(rng)},
        lambda: {"type": "BPEDecoder", "suffix": "</w>"},
        lambda: {"type": "CTC", "pad_token": rng.choice(("<pad>", "a")), "word_delimiter_token": "|", "cleanup": flag(rng)},
        lambda: {"type": "Fuse"}, lambda: {"type": "ByteFallback"},
        lambda: {"type": "Strip", "content": rng.choice((" ", "a", MARK)), "start": rng.choice((0, 1, 1, 2)), "stop": 0},
        lambda: {"type": "Replace", "pattern": pattern, "content": content},
        lambda: {"type": "Replace", "pattern": {"String": MARK}, "content": " "}))()


# The decoders that models have, and a prefix of the pipeline that fits them, beside any.
KNOWN_DECODERS = (
    [{"type": "Replace", "pattern": {"String": MARK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
     {"type": "Strip", "content": " ", "start": 1, "stop": 0}],
    [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}],
    [{"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}],
    [{"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}],
    [{"type": "WordPiece", "prefix": "##", "cleanup": True}],
    [{"type": "BPEDecoder", "suffix": "</w>"}],
    [{"type": "ByteFallback"}, {"type": "Fuse"}])


def random_decoder(rng):
    if rng.random() < 0.5:
        known = rng.choice(KNOWN_DECODERS)
        return known[0] if len(known) == 1 else {"type": "Sequence", "decoders": known}
    return some(rng, decoder, "decoders")


def processor(rng, ids):
    name = lambda: rng.choice(sorted(ids))
    special = lambda token: {"SpecialToken": {"id": token, "type_id": rng.randint(0, 1)}}
    text = lambda which: {"Sequence": {"id": which, "type_id": rng.randint(0, 1)}}

    def template():
        before, behind = [name() for _ in range(rng.randint(0, 2))], [name() for _ in range(rng.randint(0, 2))]
        used = sorted(set(before + behind))
        around = lambda parts: [special(t) for t in before] + parts + [special(t) for t in behind]
        return {"type": "TemplateProcessing", "single": around([text("A")]), "pair": around([text("A"), text("B")]),
                "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in used}}

    def words(kind):
        cls, sep = name(), name()
        more = {"trim_offsets": flag(rng), "add_prefix_space": flag(rng)} if kind == "RobertaProcessing" else {}
        return {"type": kind, "sep": [sep, ids[sep]], "cls": [cls, ids[cls]]} | more
    return rng.choice((template, template, lambda: words("BertProcessing"), lambda: words("RobertaProcessing"),
                       lambda: {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": flag(rng), "use_regex": True}))()


# --- models -------------------------------------------------------------------------------------------------------------

def affixed(piece, prefix, suffix):
    return [(prefix if i else "") + c + (suffix if i == len(piece) - 1 else "") for i, c in enumerate(piece)]


def bpe(rng, pieces):
    prefix, suffix = rng.choice(("", "", "", "##", "@@")), rng.choice(("", "", "", "</w>"))
    words = [affixed(piece, prefix, suffix) for piece in pieces]
    symbols = sorted({symbol for word in words for symbol in word})
    symbols = [symbol for symbol in symbols if rng.random() < 0.95] or ["a"]
    known, merges = set(symbols), []
    bytes_of = rng.choice((None, None, "all", "some"))
    for _ in range(rng.choice((0, 5, 40, 80))):
        words = [word for word in words if len(word) > 1]
        if not words:
            break
        word = rng.choice(words)
        at = rng.randrange(len(word) - 1)
        pair = word[at], word[at + 1]
        if pair[0] not in known or pair[1] not in known:
            continue
        whole = pair[0] + (pair[1][len(prefix):] if prefix else pair[1])
        if whole not in known:
            known.add(whole)
            symbols.append(whole)
        if pair in merges:
            continue
        merges.append(pair)
        for word in words:
            for i in range(len(word) - 2, -1, -1):
                if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
                    word[i:i + 2] = [whole]
    if bytes_of:
        symbols += [f"<0x{byte:02X}>" for byte in range(256) if bytes_of == "all" or rng.random() < 0.8]
    tokens = list(dict.fromkeys(["<unk>"] + symbols))
    return {"type": "BPE", "dropout": None, "unk_token": rng.choice(("<unk>", "<unk>", None)),
            "continuing_subword_prefix": prefix or None, "end_of_word_suffix": suffix or None, "fuse_unk": flag(rng),
            "byte_fallback": bool(bytes_of) and rng.random() < 0.9, "ignore_merges": flag(rng),
            "vocab": {token: i for i, token in enumerate(tokens)}, "merges": [list(pair) for pair in merges]}


def parts(rng, pieces, count):
    found = set()
    for _ in range(count):
        piece = rng.choice(pieces)
        start = rng.randrange(len(piece))
        found.add(piece[start:start + rng.choice((1, 2, 3, 5, 9))])
    return found


def unigram(rng, pieces):
    tokens = {c for piece in pieces for c in piece if rng.random() < 0.9} | parts(rng, pieces, 60)
    if flag(rng):
        tokens |= {f"<0x{byte:02X}>" for byte in range(256)}
    scored = [["<unk>", 0.0]] + [[token, round(-rng.uniform(1, 9) * (1 + 0.1 * len(token)), 6)] for token in sorted(tokens - {"<unk>"})]
    return {"type": "Unigram", "unk_id": 0, "vocab": scored, "byte_fallback": flag(rng)}


def word_piece(rng, pieces):
    prefix = rng.choice(("##", "##", "@@", ""))
    tokens = parts(rng, pieces, 60) | {prefix + part for part in parts(rng, pieces, 60)} | {piece for piece in pieces if rng.random() < 0.3}
    tokens |= {prefix + c for piece in pieces for c in piece if rng.random() < 0.8}
    ordered = ["<unk>"] + sorted(tokens - {"<unk>"})
    return {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": rng.choice((100, 100, 4)), "vocab": {token: i for i, token in enumerate(ordered)}}


def word_level(rng, pieces):
    ordered = ["<unk>"] + sorted({piece for piece in pieces if rng.random() < 0.8} - {"<unk>"})
    return {"type": "WordLevel", "unk_token": "<unk>", "vocab": {token: i for i, token in enumerate(ordered)}}


def added_tokens(rng, model, normalizer_):
    """None is looked for as another is: of those the package finds any."""
    vocab = model["vocab"]
    ids = {token[0]: i for i, token in enumerate(vocab)} if isinstance(vocab, list) else dict(vocab)
    wanted, listed = ["<s>", "</s>", "<pad>"] + rng.sample(["<m>", "[M]", "it's", "ab", "The", " ab", "x1 "], rng.randint(0, 4)), []
    seen = set()
    for text in wanted:
        special = text[0] == "<"
        normalized = not special and flag(rng)
        sought = normalized, normalizer_.normalize_str(text) if normalized and normalizer_ else text
        if sought in seen:
            continue
        seen.add(sought)
        if text not in ids:
            ids[text] = max(ids.values()) + 1
        listed.append({"id": ids[text], "content": text, "single_word": not special and flag(rng), "lstrip": rng.random() < 0.3,
                       "rstrip": rng.random() < 0.3, "normalized": normalized, "special": special})
    return sorted(listed, key=lambda token: token["id"]), {token: ids[token] for token in ("<s>", "</s>", "<pad>")}


def pipeline(seed, texts):
    """A tokenizer.json whose vocabulary is of what its own splits make of the texts."""
    from tokenizers import Tokenizer, models
    rng = random.Random(seed)
    state = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
             "normalizer": some(rng, normalizer, "normalizers"), "pre_tokenizer": some(rng, pre_tokenizer, "pretokenizers"),
             "post_processor": None, "decoder": random_decoder(rng),
             "model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"}}
    tokenizer = Tokenizer.from_str(json.dumps(state))
    pieces = []
    for text in texts[:12]:
        text = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
        pieces += [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)] if tokenizer.pre_tokenizer else [text]
    pieces = sorted({piece.replace("\0", "") for piece in pieces} - {""}) or ["a"]  # which no key of an object may have
    model = rng.choice((bpe, bpe, unigram, word_piece, word_level))(rng, pieces)
    state["model"] = model
    state["added_tokens"], ids = added_tokens(rng, model, tokenizer.normalizer)
    if rng.random() < 0.6:
        parts_ = [processor(rng, ids) for _ in range(rng.choice((1, 1, 2)))]
        state["post_processor"] = parts_[0] if len(parts_) == 1 else {"type": "Sequence", "processors": parts_}
    return state


# --- comparing ------------------------------------------------------------------------------------------------------------

def ours(command, texts, lists):
    """Of each text its ids and what they decode to, of each list of ids the text; or the sentence of a refusal."""
    raw = [text.encode() for text in texts]
    given = b"".join(struct.pack("<I", len(r)) + r for r in raw)
    given += b"".join(struct.pack(f"<I{len(ids)}i", len(ids) | 1 << 31, *ids) for ids in lists)
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode == 1:
        return done.stderr.decode().strip()
    if done.returncode:
        return f"CRASHED with {done.returncode}: {done.stderr.decode()[-2000:]}"
    at, results = 0, []
    for _ in range(len(texts) + len(lists)):
        (count,) = struct.unpack_from("<I", done.stdout, at)
        ids = list(struct.unpack_from(f"<{count}i", done.stdout, at + 4))
        at += 4 + 4 * count
        (size,) = struct.unpack_from("<I", done.stdout, at)
        results.append((ids, done.stdout[at + 4:at + 4 + size].decode()))
        at += 4 + size
    return results


def theirs(call):
    """The package's answer; None where it has none: it panics at times."""
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException:  # a panic is no Exception
        return None


def compare(seed, program, folder, count=12):
    """A sentence where something differs, with what; the sentence of a refusal; None where all is the same."""
    from tokenizers import Tokenizer
    rng = random.Random(f"{seed}/texts")
    texts = [random_text(rng) for _ in range(count)]
    state = pipeline(seed, texts)
    if state["model"]["type"] == "Unigram" and state["model"]["byte_fallback"]:
        texts = [BYTE.sub("", text) for text in texts]  # which the package takes for those bytes, as docs/tokenizers.md says
    path = pathlib.Path(folder) / f"{seed}.tokenizer.json"
    path.write_text(json.dumps(state), encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(path))
    # A run of bytes that is no UTF-8 is shown byte by byte here, as it comes; the package makes all of it U+FFFD.
    falls = "ByteFallback" in json.dumps(state["decoder"])
    known = sorted(i for token, i in tokenizer.get_vocab().items() if not (falls and BYTE.fullmatch(token)))
    lists = [[rng.choice(known) for _ in range(rng.randint(1, 12))] for _ in range(6)]
    lists += [sum(([i] * rng.choice((1, 1, 2, 3)) for i in ids), []) for ids in lists[:2]]
    got = ours([program, str(path)], texts, lists)
    if isinstance(got, str):
        return ("refused" if not got.startswith("CRASHED") else "crash"), got
    names = lambda ids: [tokenizer.id_to_token(i) for i in ids]
    for text, (ids, decoded) in zip(texts, got):
        encoding = theirs(lambda: tokenizer.encode(text).ids)
        # Equally likely cuts of a Unigram model: the package's sums of scores are rounded in another order.
        if encoding is not None and ids != encoding and state["model"]["type"] == "Unigram" and sorted(ids) == sorted(encoding):
            continue
        if encoding is not None and ids != encoding:
            return "ids", differing(text, names(ids), names(encoding))
        shown = theirs(lambda: tokenizer.decode(encoding)) if encoding else None
        garbled = shown and falls and "\ufffd" in shown and any(BYTE.fullmatch(name) for name in names(ids))
        if shown is not None and decoded != shown and not garbled:
            return "decode", differing(names(ids), decoded, shown)
    for ids, (_, decoded) in zip(lists, got[len(texts):]):
        shown = theirs(lambda: tokenizer.decode(ids))
        if shown is not None and REPLACEMENT.sub("\ufffd", decoded) != REPLACEMENT.sub("\ufffd", shown):
            return "decode ids", differing(names(ids), decoded, shown)
    return None


def differing(given, here, there):
    at = next((i for i, (a, b) in enumerate(zip(here, there)) if a != b), min(len(here), len(there)))
    part = slice(max(0, at - 4), at + 8)
    return f"{given!r}\n  at {at} here  {here[part]!r}\n  at {at} there {there[part]!r}"


def brief(state):
    state = json.loads(json.dumps(state))
    for key in ("vocab", "merges"):
        state["model"].pop(key, None)
    state["added_tokens"] = [[token["content"]] + [key for key in token if token[key] is True] for token in state["added_tokens"]]
    return json.dumps({key: state[key] for key in ("normalizer", "pre_tokenizer", "model", "post_processor", "decoder", "added_tokens")},
                      ensure_ascii=False)


def main():
    if not importlib.util.find_spec("tokenizers"):
        other = os.environ.get("SPATE_TEST_CLIENTS")
        if not other or os.environ.get("COMPARE_AGAIN"):
            print("SKIPPED: there is no package tokenizers; SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
            return 77
        return subprocess.run([other, *sys.argv], env=os.environ | {"COMPARE_AGAIN": "1"}).returncode
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=int(os.environ.get("PIPELINES", 1000)))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep")
    parser.add_argument("-v", action="store_true")
    given = parser.parse_known_args()[0]  # ctest says -q
    program, wrong, refused = os.environ["TOKENIZE_TEXTS"], 0, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.first, given.first + given.count):
            found = compare(seed, program, given.keep or folder)
            path = pathlib.Path(given.keep or folder) / f"{seed}.tokenizer.json"
            reason = found and found[0] == "refused" and next((r for r in REFUSED if r in found[1]), None)
            if found and not reason:
                wrong += 1
                if wrong <= 12 or given.v:
                    print(f"{seed}: {found[0]}: {found[1]}\n  {brief(json.loads(path.read_text()))}")
            refused[reason] += bool(reason)
            if not given.keep:
                path.unlink()
    refused = +refused
    for reason, times in refused.items():
        print(f"{times} refused: {reason}: {REFUSED[reason]}")
    print(f"{given.count} pipelines compared, {sum(refused.values())} refused, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
