#!/usr/bin/env python3
"""SentencePiece models whose ids transformers' classes move, and the tokenizer.json that it makes of each folder:
tests/fixtures/model/pieces/; and seeds of fuzz_classic.

    python3 tools/make_piece_fixtures.py   (needs: transformers, sentencepiece, protobuf)

KIND.model  a small model, with rules for characters of its own
NAME.json   {"model": KIND, "model_type": that of config.json, "files": {the others beside the model}, "tokenizer": tokenizer.json}
"""
import contextlib
import io
import json
import os
import pathlib
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece  # noqa: E402
import transformers  # noqa: E402

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/model/pieces"
CORPUS = OUT.parents[2] / "fuzz/corpus/classic"
TEXT = ("the quick brown fox jumps over the lazy dog", "pack my box with five dozen liquor jugs (and (some) more)",
        "sphinx of black quartz, judge my vow: the vow of the fox", "how vexingly quick daft zebras jump, 12,345 times")
RULES = "FF41\t61\nC9\tE9\n2160\t49\n"  # a wide letter, a capital, a numeral
KINDS = {
    "fairseq": {},
    "t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "albert": {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1, "control_symbols": ["[CLS]", "[SEP]", "[MASK]"], "user_defined_symbols": ["(", ")"]},
    "xlnet": {"control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]},
}


def named(name, **settings):
    return {"tokenizer_config.json": {"tokenizer_class": name, **settings}}


CASES = {
    "xlm_roberta": ("xlm-roberta", "fairseq", named("XLMRobertaTokenizer")),
    "xlm_roberta_bare": ("xlm-roberta", "fairseq", {}),
    "xlm_roberta_fast": ("bert", "fairseq", named("XLMRobertaTokenizerFast", add_prefix_space=False)),
    "xlm_roberta_added": ("xlm-roberta", "fairseq", named("XLMRobertaTokenizer", added_tokens_decoder={
        "0": {"content": "<s>", "special": True}, "64": {"content": "<mask>", "lstrip": True, "special": True},
        "65": {"content": "<new>", "special": False, "normalized": True}})),
    "xlm_roberta_map": ("xlm-roberta", "fairseq", {**named("XLMRobertaTokenizer"), "special_tokens_map.json": {
        "mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}}}),
    "camembert": ("camembert", "fairseq", named("CamembertTokenizer")),
    "camembert_bare": ("camembert", "fairseq", {}),
    "t5": ("t5", "t5", named("T5Tokenizer")),
    "t5_few": ("t5", "t5", named("T5Tokenizer", extra_ids=3)),
    "albert": ("albert", "albert", named("AlbertTokenizer")),
    "albert_kept": ("albert", "albert", named("AlbertTokenizer", keep_accents=True, do_lower_case=False)),
    "xlnet": ("xlnet", "xlnet", named("XLNetTokenizer")),
    "xlnet_lower": ("xlnet", "xlnet", named("XLNetTokenizer", do_lower_case=True)),
}


def trained(options):
    model = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # the model keeps the name of its rules
        pathlib.Path("rules.tsv").write_text(RULES)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=model, minloglevel=2, num_threads=1, vocab_size=64,
                                                 model_type="unigram", hard_vocab_limit=False, normalization_rule_tsv="rules.tsv", **options)
    return model.getvalue()


def seeds(models):
    """The number of a class, and the files that fuzz_classic reads."""
    words = "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b", "hello", "##lo", ""]).encode()
    units = json.dumps({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, "a": 5, "b": 6, "ab": 7, "\u0120": 8}).encode()
    endoftext = json.dumps({"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3, "\u0120": 4, "\u0120a": 5}).encode()
    decoder = b'{"do_lower_case": true, "add_prefix_space": true, "added_tokens_decoder": {"64": {"content": "<mask>", "lstrip": true, "special": true}}}'
    yield 0, b"{}", b'{"[NEW]": 10, "a": 5}', b'{"cls_token": "[NEW]", "additional_special_tokens": ["a"]}', words
    yield 1, b'{"mask_token": {"content": "<mask>", "lstrip": true}}', b"", b"", units, b"#version: 0.2\na b\n"
    yield 2, b'{"add_prefix_space": true}', b'{"<new>": 6}', b"", endoftext, b"a b\n\xc4\xa0 a\n"
    for number, kind in ((5, "fairseq"), (6, "fairseq"), (7, "t5"), (8, "albert"), (9, "xlnet")):
        yield number, decoder if number == 5 else b'{"extra_ids": 3, "keep_accents": true}', b"", b"", models[kind]


def main():
    CORPUS.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    models = {kind: trained(options) for kind, options in KINDS.items()}
    for kind, data in models.items():
        (OUT / f"{kind}.model").write_bytes(data)
    for i, (number, *files) in enumerate(seeds(models)):
        (CORPUS / f"seed{i}").write_bytes(bytes([number]) + b"\xfe".join(files))
    for name, (model_type, kind, files) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            at = pathlib.Path(folder)
            (at / ("sentencepiece.bpe.model" if kind == "fairseq" else "spiece.model")).write_bytes(models[kind])
            for file, content in {"config.json": {"model_type": model_type}, **files}.items():
                (at / file).write_text(json.dumps(content))
            made = json.loads(transformers.AutoTokenizer.from_pretrained(folder)._tokenizer.to_str())
        case = {"model": kind, "model_type": model_type, "files": files, "tokenizer": made}
        (OUT / f"{name}.json").write_text(json.dumps(case, ensure_ascii=False) + "\n")
        print(name, len(made["model"]["vocab"]), made["model"]["vocab"][-1], made["added_tokens"][-1])


if __name__ == "__main__":
    main()
