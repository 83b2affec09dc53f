#!/usr/bin/env python3
"""SentencePiece models whose ids transformers' classes move, and the tokenizer.json that it makes of each folder:
tests/fixtures/model/pieces/.

    python3 tools/make_piece_fixtures.py   (needs: transformers, sentencepiece, protobuf)

KIND.model  a small model, with rules for characters of its own
NAME.json   {"model": KIND, "model_type": that of config.json, "files": {the others beside the model}, "tokenizer": tokenizer.json}
"""
import io
import json
import os
import pathlib
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentencepiece  # noqa: E402
import transformers  # noqa: E402

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/model/pieces"
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
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write(RULES)
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXT), model_writer=model, minloglevel=2, num_threads=1, vocab_size=64,
                                                 model_type="unigram", hard_vocab_limit=False, normalization_rule_tsv=rules.name, **options)
    return model.getvalue()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    models = {kind: trained(options) for kind, options in KINDS.items()}
    for kind, data in models.items():
        (OUT / f"{kind}.model").write_bytes(data)
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
