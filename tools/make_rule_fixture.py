#!/usr/bin/env python3
"""Writes tests/fixtures/text/rules.json: for each split rule that GGUF files name (tokenizer.ggml.pre) the ids that the
PyPI package `tokenizers` gives adversarial strings, with the regexes of the models' published tokenizer.json and the
vocabularies of two fixtures that are there already.

    python3 tools/make_rule_fixture.py       (needs: tokenizers)

[[names, fixture whose vocabulary it is, [[text, ids], ...]], ...]
"""
import json
import random

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

import make_tokenizer_fixtures as make

MARK = make.MARK
CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
END = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
HAN_APART = make.GPT4O.replace(r"\p{M}]", r"\p{M}&&[^\p{Han}]]").replace(r"[\r\n/]*", r"[\r\n]*")
QWEN35 = make.QWEN2.replace(r"]?\p{L}+", r"]?[\p{L}\p{M}]+").replace(r" ?[^\s\p{L}\p{N}]", r" ?[^\s\p{L}\p{M}\p{N}]")
JAIS2 = make.LLAMA3.replace(r"|\s+(?!\S)|\s+", "".join(rf"|\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4))
                            + r"|\s{1,2}(?!\S)|\s{1}")
EXAONE = (CONTRACTION + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
          r"|\s+(?!\S)|\s+")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
SEED = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + END
SPARK = make.DEEPSEEK3[2].replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]")
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
CASED_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4"
    "\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc"
    "\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f"
    "\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a"
    "\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2"
    "\U000118a0-\U000118df\U0001e900-\U0001e943")
DEEPSEEK_LLM = (r"[\r\n]", rf"\s?[{CASED_LETTERS}]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                r"\s+$", CJK, r"\p{N}+")
AFMOE = ("[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff"
         "\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+")
YOUTU = ("[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+"
         "|[\u3105-\u312f]+|[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", make.GPT4O.replace("{1,3}", ""))
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
CHAMELEON = ("<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
             r"[\p{P}!-/:-@\[-`{-~]", GPT2)
THREES = r"\d{1,3}(?=(?:\d{3})*\b)"
LINES = r"[^\n]+|[\n]+"
DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]")

# Names, regexes, what else the models do.
RULES = [
    ("gpt-2 phi-2 mpt olmo jais jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code roberta-bpe gigachat a.x-4.0 "
     "mellum modern-bert exaone4 trillion granite-docling", (GPT2,), ""),
    ("smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", (r"\p{N}", GPT2), ""),
    ("dbrx smaug-bpe chatglm-bpe", (make.LLAMA3,), ""),
    ("glm4 glm5 llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", (make.LLAMA3,), "whole"),
    ("stablelm2 hunyuan solar-open grok-2 megrez", (make.QWEN2,), ""),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2", (make.QWEN2,), "nfc"),
    ("qwen35", (QWEN35,), "nfc"),
    ("deepseek-llm", DEEPSEEK_LLM, ""),
    ("deepseek-coder", (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"), ""),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", make.DEEPSEEK3, ""),
    ("spark2_5", (*make.DEEPSEEK3[:2], SPARK, r"\p{N}"), ""),
    ("afmoe", (r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", AFMOE, make.DEEPSEEK3[2]), ""),
    ("falcon", (), "falcon"),
    ("default", DEFAULT, ""),
    ("bloom poro-chat gpt3-finnish", (BLOOM,), ""),
    ("viking", (BLOOM, r"\p{N}"), ""),
    ("tekken", (make.TEKKEN,), "whole"),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", (make.GPT4O,), ""),
    ("granite-embed-multi-97m", (make.GPT4O,), "whole"),
    ("tiny_aya cohere2moe", (THREES, make.GPT4O), ""),
    ("youtu", YOUTU, "whole"),
    ("kimi-k2", (r"[\p{Han}]+|" + HAN_APART,), "whole"),
    ("jais-2", (JAIS2,), ""),
    ("exaone-moe", (EXAONE,), ""),
    ("bailingmoe bailingmoe2 llada-moe", (BAILING,), ""),
    ("seed-coder", (SEED,), ""),
    ("superbpe", (r"\p{N}+", r"(?=(\d{3})+(?!\d))"), ""),
    ("minicpm5", (r"\p{N}{1,3}", make.LLAMA3.replace("{1,3}", "+")), "whole"),
    ("ufakzeka", (make.QWEN2.replace(CONTRACTION + "|", ""),), ""),
    ("laguna", (LINES, make.QWEN2), ""),
    ("chameleon", CHAMELEON, ""),
    ("gemma4 granite-embed-multi-311m sarvam-moe", (LINES,), "marked"),
    ("whitespace", (r"\S+",), "plain"),
]
PIECES = ["1234567 ", "12345,", "1234a ", "a1234567890 ", "123 ", "12\u00bd1234 ", "\u0664\u0665\u0666\u0667 ", "1\uff12\uff13\uff14",
          "IMGIMGABZ", "<sentinel:12>", "$5+`x`", "'LL", "\u4e00a\u4e00B", "A\u0301b", "\u1160\u0e40x", "\u10a0\u10d0\u2c2f", "=>^~|", "\n\n\n", "x\n/",
          "Hello World foo bar", "\u0939\u093f\u0928\u094d\u0926\u0940"]


def pipeline(patterns, kind):
    source = Tokenizer.from_file(str(make.OUT / ("gemma" if kind in ("marked", "plain") else "gpt2")) + ".tokenizer.json")
    vocab, merges = make.bpe_state(source)
    extra = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"} if kind == "marked" else {}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=kind == "whole", **extra))
    splits = [pre_tokenizers.Split(Regex(pattern), "removed" if kind == "plain" else "isolated", invert=kind == "plain")
              for pattern in patterns]
    if kind == "falcon":
        splits = [pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(False), pre_tokenizers.Digits(False),
                  pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]
    elif kind not in ("marked", "plain"):
        splits.append(pre_tokenizers.ByteLevel(False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(splits)
    if kind == "nfc":
        tokenizer.normalizer = normalizers.NFC()
    if kind == "marked":
        tokenizer.normalizer = normalizers.Replace(" ", MARK)
    return tokenizer


def main():
    rules = []
    for names, patterns, kind in RULES:
        tokenizer, rng = pipeline(patterns, kind), random.Random(names)
        texts = make.SCRIPTS[:6] + ["".join(PIECES)]
        texts += ["".join(rng.choice(PIECES + make.PIECES) for _ in range(rng.choice((3, 8, 20)))) for _ in range(45)]
        if kind == "plain":  # what has no token is left out by the package, and here
            texts = [text.replace("<0x41>", "") for text in texts]
        rules.append([names.split(), "gemma" if kind in ("marked", "plain") else "gpt2",
                      [[text, tokenizer.encode(text).ids] for text in texts]])
    lines = ",\n".join(json.dumps(rule, separators=(",", ":")) for rule in rules)
    (make.OUT / "rules.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{sum(len(names) for names, _, _ in rules)} names, {len(rules)} rules")


if __name__ == "__main__":
    main()
