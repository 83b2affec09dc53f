#!/usr/bin/env python3
"""Vocabularies in the files of SentencePiece, tiktoken and Mistral, and what those libraries make of adversarial strings:
tests/fixtures/text/vocab/.

    python3 tools/make_vocabulary_fixtures.py [--compare PROGRAM COUNT]   (needs: sentencepiece, tiktoken, tokenizers)

FOLDER/FILE        the vocabulary, under the name that model directories give it; tokenizer_config.json where it needs one
FOLDER/cases.json  [[text, [ids, none around it], decoded], ...]
--compare          writes nothing: COUNT random strings through PROGRAM (build/release/tests/parity/tokenize_texts) beside them
"""
import base64
import io
import json
import pathlib
import random
import sys

import sentencepiece
import tiktoken

import make_tokenizer_fixtures as other

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/text/vocab"
HAN = r"[\p{Han}]+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
CAPITALS, SMALLS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
KIMI = "|".join([HAN, r"[^\r\n\p{L}\p{N}]?" + CAPITALS + "*" + SMALLS + "+" + CONTRACTIONS,
                 r"[^\r\n\p{L}\p{N}]?" + CAPITALS + "+" + SMALLS + "*" + CONTRACTIONS, r"\p{N}{1,3}",
                 r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])


def sentencepiece_model(**options):
    """The bytes of a model trained on the corpus, and the package's reader of it."""
    model = io.BytesIO()
    lines = [line for line in "\n".join(other.corpus()).split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, minloglevel=2, num_threads=1,
                                             max_sentence_length=16384, **options)
    return model.getvalue(), sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def known(processor):
    """What the package decodes ids to, but for unknown ones: it writes a sign for them, which no text is."""
    return lambda ids: processor.decode([i for i in ids if i != processor.unk_id()])


def spm(name, config=None, **options):
    data, processor = sentencepiece_model(**options)
    files = {"tokenizer.model": data}
    if config:
        files["tokenizer_config.json"] = json.dumps(config).encode()
    return name, files, processor.encode, known(processor)


def ranks(count):
    """Mergeable ranks in the order in which training made them: bytes first, then merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(other.corpus(), trainers.BpeTrainer(vocab_size=count, initial_alphabet=alphabet, show_progress=False))
    byte_of = {letter: byte for byte, letter in other_letters().items()}
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return {bytes(byte_of[letter] for letter in token): rank for rank, (token, _) in enumerate(tokens)}


def other_letters():
    """Byte -> the letter that byte-level vocabularies write it with."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + i) for i, byte in enumerate(rest)}


def tiktoken_family(name, pattern, config, file):
    table = ranks(1500)
    n = len(table)
    config = config | {"added_tokens_decoder": {str(n + 2): {"content": "<|end|>", "special": True},
                                                str(n): {"content": "[BOS]", "special": True}}}
    encoding = tiktoken.Encoding("own", pat_str=pattern, mergeable_ranks=table, special_tokens={})
    lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in table.items())
    files = {file: lines.encode(), "tokenizer_config.json": json.dumps(config).encode()}
    return name, files, lambda text: encoding.encode(text, disallowed_special=()), encoding.decode


def tekken(name, size=1400, first=False):
    """first: as the first files were, which name no special tokens."""
    table, special = ranks(size), 24 if first else 20
    names = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    inner = len(table) - 100  # as the real file, which has more tokens than its model uses
    content = {
        "config": {"pattern": other.TEKKEN, "num_vocab_tokens": len(table), "default_vocab_size": inner + special,
                   "default_num_special_tokens": special, "version": "v7"},
        "vocab": [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None} for token, rank in table.items()],
        "special_tokens": [{"rank": i, "token_str": text, "is_control": True} for i, text in enumerate(names)]}
    if first:
        del content["special_tokens"]
        content["config"]["version"] = "v3"
    kept = {token: rank for token, rank in table.items() if rank < inner}
    encoding = tiktoken.Encoding("own", pat_str=other.TEKKEN, mergeable_ranks=kept, special_tokens={})
    encode = lambda text: [i + special for i in encoding.encode(text, disallowed_special=())]  # noqa: E731
    return name, {"tekken.json": json.dumps(content).encode()}, encode, lambda ids: encoding.decode([i - special for i in ids])


def families():
    llama = {"tokenizer_class": "LlamaTokenizer", "added_tokens_decoder": {"1205": {"content": "<|im_end|>", "special": True}}}
    yield spm("llama2", llama, model_type="bpe", vocab_size=1200, byte_fallback=True, normalization_rule_name="identity",
              remove_extra_whitespaces=False, character_coverage=0.99)
    yield spm("gemma", {"tokenizer_class": "GemmaTokenizer"}, model_type="bpe", vocab_size=1200, byte_fallback=True,
              normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=False, split_digits=True,
              character_coverage=0.99, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
              user_defined_symbols=[other.MARK * n for n in range(2, 9)] + ["\t\t", "<table>"])
    yield spm("plain_bpe", model_type="bpe", vocab_size=1000, character_coverage=0.99, normalization_rule_name="identity")
    yield spm("t5", {"tokenizer_class": "T5Tokenizer"}, model_type="unigram", vocab_size=1000, character_coverage=0.99, pad_id=0,
              eos_id=1, unk_id=2, bos_id=-1)
    yield spm("unigram_bytes", model_type="unigram", vocab_size=1200, byte_fallback=True, character_coverage=0.98,
              normalization_rule_name="identity", user_defined_symbols=["<table>", "ab"])
    yield spm("char", model_type="char", vocab_size=330, byte_fallback=True, normalization_rule_name="identity",
              user_defined_symbols=["<table>", "ab"])
    yield spm("char_unknown", model_type="char", vocab_size=60, normalization_rule_name="identity")
    yield spm("suffix_unigram", model_type="unigram", vocab_size=640, character_coverage=0.98, treat_whitespace_as_suffix=True,
              normalization_rule_name="identity")
    yield spm("suffix_bpe", model_type="bpe", vocab_size=700, character_coverage=0.98, treat_whitespace_as_suffix=True,
              normalization_rule_name="identity", remove_extra_whitespaces=False, user_defined_symbols=["<table>"])
    yield tiktoken_family("kimi", KIMI, {"tokenizer_class": "TikTokenTokenizer", "bos_token": "[BOS]"}, "tiktoken.model")
    yield tiktoken_family("glm4", other.LLAMA3, {"tokenizer_class": "ChatGLM4Tokenizer"}, "tokenizer.model")
    yield tekken("tekken")
    yield tekken("tekken_first", 500, first=True)


def strings(name, count):
    rng = random.Random(name + "/vocabulary")
    texts = [other.adversarial(rng, ["<table>", "</s>", "<|im_end|>", "[BOS]"]) for _ in range(count)]
    return [text for text in texts if "\0" not in text]  # where SentencePiece's wrapper ends


def write(name, files, encode, decode):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)
    cases = [[text, encode(text), decode(encode(text))] for text in strings(name, 160)]
    (folder / "cases.json").write_text(json.dumps(cases, ensure_ascii=False) + "\n")


def compare(program, name, files, encode, decode, count):
    sys.path.insert(0, str(OUT.parents[2] / "parity"))
    import compare_tokenizers
    texts, folder, wrong, ties = strings(name + "/compare", count), OUT / name, 0, 0
    vocabulary = next(file for file in files if file != "tokenizer_config.json")
    arguments = [str(folder / file) for file in [vocabulary, "tokenizer_config.json"] if file in files]
    for text, (ids, decoded) in zip(texts, compare_tokenizers.ours([program, *arguments], texts)):
        expected = encode(text)
        same_text = decoded.lstrip(" ") == decode(expected).lstrip(" ")  # see docs/tokenizers.md
        if ids != expected and sorted(ids) == sorted(expected) and same_text:
            ties += 1  # another order of the same tokens is as likely
        elif ids != expected or not same_text:
            wrong += 1
            if wrong <= 4:
                print(f"{name}: {text!r}\n  here  {ids} {decoded!r}\n  there {expected} {decode(expected)!r}")
    print(f"{name}: {wrong} of {len(texts)} differ, {ties} are as likely a cut")


def seeds():
    """Small ones for fuzz_vocabulary: the file's kind, then the file."""
    bpe, _ = sentencepiece_model(model_type="bpe", vocab_size=300, character_coverage=0.98, normalization_rule_name="identity")
    unigram, _ = sentencepiece_model(model_type="unigram", vocab_size=300, character_coverage=0.98, byte_fallback=False,
                                     normalization_rule_name="identity")
    table = ranks(262)
    lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in table.items() if rank < 260)
    tekken_json = {"config": {"pattern": " ?[a-z]+|.", "default_vocab_size": 262, "default_num_special_tokens": 2},
                   "vocab": [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for token, rank in table.items()],
                   "special_tokens": [{"rank": 1, "token_str": "<s>"}]}
    yield from (b"\0" + bpe, b"\0" + unigram, b"\1" + lines.encode(), b"\2" + json.dumps(tekken_json).encode())


def main():
    if not sys.argv[1:]:
        folder = OUT.parents[2] / "fuzz/corpus/vocabulary"
        folder.mkdir(parents=True, exist_ok=True)
        for i, seed in enumerate(seeds()):
            (folder / f"seed{i}").write_bytes(seed)
    for name, files, encode, decode in families():
        if sys.argv[1:2] == ["--compare"]:
            compare(sys.argv[2], name, files, encode, decode, int(sys.argv[3]))
        else:
            write(name, files, encode, decode)


if __name__ == "__main__":
    main()
