#!/usr/bin/env python3
"""Writes tests/fixtures/text/: for each family of tokenizers a small one of its exact pipeline, trained here with the
PyPI package `tokenizers`, and what that package makes of adversarial strings.

    python3 tools/make_tokenizer_fixtures.py [NAME...]       (needs: tokenizers, sentencepiece, protobuf)

NAME.tokenizer.json    the tokenizer
NAME.cases.json        [[text, [ids, special tokens around it included], decoded without special tokens], ...]
"""
import json
import pathlib
import pydoc_data.topics
import random
import sys
import tempfile
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "text"
MARK = "\u2581"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CAPITALS, SMALLS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}*{SMALLS}+%s|[^\r\n\p{{L}}\p{{N}}]?{CAPITALS}+{SMALLS}*%s"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = CASED % ("", "") + r"|\p{N}" + REST
GPT4O = CASED % (("(?i:'s|'t|'re|'ve|'m|'ll|'d)?",) * 2) + r"|\p{N}{1,3}" + REST
DEEPSEEK3 = (r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
             r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

SCRIPTS = [
    "The quick brown fox jumps over the lazy dog; it's 3.14159 o'clock, isn't it? We'LL see, they'Ve gone.",
    "Ein süßer Ärger über Größe: naïve façade, coöperate, Ångström, Čeština, İstanbul, ŁódŹ.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Ωμέγα ἀρχή.",
    "我能吞下玻璃而不伤身体。私はガラスを食べられます。それは私を傷つけません。나는 유리를 먹을 수 있어요.",
    "אני יכול לאכול זכוכית. أنا قادر على أكل الزجاج و هذا لا يؤلمني. मैं काँच खा सकता हूँ।",
    "🦙🚀👩‍👩‍👧‍👦 ✅ ½ ² ③ Ⅷ ٣٤٥ ९८ 一二三 ½½ 1234567890 0x7fff 1e-5 v1.2.3-rc4",
    "def f(x):\n\treturn {k: v**2 for k, v in x.items() if v >= 10}  # 100%\r\n\r\n\n   indented\n",
]
PIECES = ([c for line in SCRIPTS for c in line] +
          ["\u0301", "\u0308", "e\u0301", "z\u0301t", "A\u030a", "\u1100\u1161", "\u200d", "\u200b", "\ufeff", "\u180e",
           "\u00a0", "\u3000", "\u2028", "\u0085", "\u1680", "\0", "\x01", "\x7f", MARK, MARK * 2, "\ufb01", "\u212b", "\U0001f3fd", "\ufffd",
           "\t", "\n", "\n\n", "\r\n", "\r", " ", "  ", "   ", "    ", " " * 17, "'s", "'S", "'re", "'LL", "\u017f", "'\u017f",
           "aaaa", "0000", "....", "!!!?", "\u01c5", "\u00aa", "_", "__", "<0x41>", "<unk>", "<s>", "</s>", "<", "|", ">"] +
          [word + end for word in "the of and import return string Python object it's I'm you'll".split()
           for end in ("", " ", " ")])


def corpus():
    text = "".join(sorted(pydoc_data.topics.topics.values()))[:250000]
    return text.split("\n\n") + SCRIPTS * 12


def adversarial(rng, added):
    """A random string: scripts, marks, white space and added tokens in unlikely neighbourhoods."""
    pieces = PIECES + added * 4
    text = "".join(rng.choice(pieces) for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 30))))
    if rng.random() < 0.1:
        text = rng.choice(SCRIPTS)[rng.randrange(40):] + text
    if rng.random() < 0.05:
        text += rng.choice(PIECES) * rng.randrange(20, 90)
    return unicodedata.normalize(rng.choice(("NFC", "NFD")), text) if rng.random() < 0.3 else text


def bpe_state(tokenizer):
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def train(pre_tokenizer, size, byte_level, normalizer=None, specials=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=list(specials),
                                  show_progress=False, limit_alphabet=400, max_token_length=24)
    tokenizer.train_from_iterator(corpus(), trainer)
    return bpe_state(tokenizer)


def byte_level(pre_tokenizer, normalizer=None, ignore_merges=False, drop_merges=False, size=4000):
    vocab, merges = train(pre_tokenizer, size, True, normalizer)
    if drop_merges:  # leaves tokens that only ignore_merges can reach
        merges = [merge for rank, merge in enumerate(merges) if rank % 9 or rank < 200]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def sentencepiece(normalizer, pre_tokenizer, strip, whole_lines=False, fuse=True):
    """Byte fallback for what the characters do not cover; byte tokens first, as such vocabularies have them."""
    training = pre_tokenizers.Split("\n", "isolated") if whole_lines else pre_tokenizers.Metaspace()
    space = normalizers.Replace(" ", MARK) if whole_lines else None
    trained, merges = train(training, 3741, False, space)
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % byte for byte in range(256)]
    tokens += [token for token in sorted(trained, key=trained.get) if token not in tokens]
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=fuse, byte_fallback=True))
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(steps + [decoders.Strip(" ", 1, 0)] if strip else steps)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    return tokenizer


def gpt2():
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3():
    tokenizer = byte_level(split_then_bytes(LLAMA3), ignore_merges=True, drop_merges=True)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>"])
    begin = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing("<|begin_of_text|> $A", "$A $B", [("<|begin_of_text|>", begin)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def qwen2():
    tokenizer = byte_level(split_then_bytes(QWEN2), normalizer=normalizers.NFC())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False)])
    return tokenizer


def cased(pattern, ignore_merges):
    tokenizer = byte_level(split_then_bytes(pattern), ignore_merges=ignore_merges, size=1000)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


def tekken():
    return cased(TEKKEN, True)


def gpt4o():
    return cased(GPT4O, False)


def deepseek3():
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in DEEPSEEK3]
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return byte_level(pre_tokenizers.Sequence(splits + [last]), size=1000)


def smollm():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer = byte_level(pre)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


def falcon():
    """Its last splits are between bytes, written as letters: amid characters too."""
    return byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")]))


def llama2():
    normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    return sentencepiece(normalizer, None, True)


def metaspace():
    """Llama 2 with legacy: false."""
    return sentencepiece(None, pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=False), True, fuse=False)


def phi3():
    tokenizer = llama2()
    tokenizer.add_special_tokens([AddedToken(t, rstrip=True, normalized=False)
                                  for t in ("<|user|>", "<|end|>", "<|assistant|>")])
    return tokenizer


def gemma():
    """Its vocabulary has tokens of several words: no merge may be cut at a space."""
    tokenizer = sentencepiece(normalizers.Replace(" ", MARK), pre_tokenizers.Split(" ", "merged_with_previous"), False,
                              whole_lines=True)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<start_of_turn>", "<end_of_turn>")])
    tokenizer.add_tokens([AddedToken("\n" * n, normalized=False) for n in (2, 3)])
    return tokenizer


def added():
    """Every flag of added tokens, and every behaviour of Split."""
    split = pre_tokenizers.Split
    pre = pre_tokenizers.Sequence([split(Regex(r"[\r\n]"), "merged_with_next"),
                                   split(Regex(r"\p{P}"), "merged_with_previous"),
                                   split(Regex(r"\s?\p{L}+"), "isolated", invert=True), split("0", "contiguous"),
                                   split(Regex(r"\x{01}"), "removed"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("aa", "b")])
    tokenizer = byte_level(pre, normalizer=normalizer, size=1000)
    tokenizer.add_special_tokens([AddedToken("<l>", lstrip=True, normalized=False),
                                  AddedToken("<r>", rstrip=True, normalized=False),
                                  AddedToken("<lr>", lstrip=True, rstrip=True, normalized=False),
                                  AddedToken("<w>", single_word=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=True), AddedToken("z\u0301t", normalized=True),
                          AddedToken("naab", normalized=True), AddedToken("na", normalized=False),
                          AddedToken("<lr><r>", normalized=False), AddedToken("lap", lstrip=True, normalized=True)])
    return tokenizer


def roberta():
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True), size=1500)
    tokenizer.add_special_tokens([AddedToken("<s>"), AddedToken("</s>"), AddedToken("<mask>", lstrip=True)])
    pair = [(t, tokenizer.token_to_id(t)) for t in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*pair, trim_offsets=True, add_prefix_space=True)
    return tokenizer


def words(model, trainer, normalizer, pre_tokenizer):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def wordpiece(lowercase, strip_accents, clean=True, chinese=True, most=100):
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=2500, special_tokens=specials, show_progress=False,
                                        limit_alphabet=300)
    normalizer = normalizers.BertNormalizer(clean_text=clean, handle_chinese_chars=chinese, strip_accents=strip_accents,
                                            lowercase=lowercase)
    model = models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=most)
    tokenizer = words(model, trainer, normalizer, pre_tokenizers.BertPreTokenizer())
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    ids = {token: tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             list(ids.items()))
    return tokenizer


def bert():
    return wordpiece(True, None)


def bert_cased():
    """Nothing normalized but marks; BertProcessing; short words."""
    tokenizer = wordpiece(False, True, clean=False, chinese=False, most=12)
    tokenizer.post_processor = processors.BertProcessing(*[(t, tokenizer.token_to_id(t)) for t in ("[SEP]", "[CLS]")])
    return tokenizer


def wordlevel():
    trainer = trainers.WordLevelTrainer(vocab_size=1500, special_tokens=["<unk>"], show_progress=False)
    normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
                                       normalizers.Strip(left=True, right=False)])
    return words(models.WordLevel(unk_token="<unk>"), trainer, normalizer, pre_tokenizers.Whitespace())


RULES = {"\u2460": "1", "\ufb01": "fi", "\u212b": "\u00c5", "e\u0301": "\u00e9", "\u00a0": " ", "\u3000": " ", "\u200b": "",
         "\u00bd": "1/2", "\u1100\u1161": "\uac00", "\uff21": "A", "\uff41": "a", "\u2026": "...", "\t": " ", "\n": " ", "\r": "",
         "z\u0301": "\u017a", "\u2163": "IV", "\ufdfa": "x" * 18, "A\u030a": "\u00c5", "\u0085": " ", "\u017f": "s"}


def charsmap():
    """Rules as SentencePiece compiles them: a few in place of nmt_nfkc's 250 KB."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
    with tempfile.TemporaryDirectory() as folder:
        rules, text, model = (pathlib.Path(folder) / name for name in ("rules.tsv", "text", "model"))
        points = lambda t: " ".join("%X" % ord(c) for c in t)
        rules.write_text("".join(f"{points(a)}\t{points(b)}\n" for a, b in RULES.items()))
        text.write_text("\n".join(line for line in corpus() if line)[:20000], encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(model), vocab_size=300,
                                                 normalization_rule_tsv=str(rules), minloglevel=2)
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(pathlib.Path(str(model) + ".model").read_bytes())
        return proto.normalizer_spec.precompiled_charsmap


def unigram(normalizer, pre_tokenizer, byte_fallback=False, size=2000):
    specials = ["<s>", "<pad>", "</s>", "<unk>"] + ["<0x%02X>" % byte for byte in range(256) if byte_fallback]
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=specials, unk_token="<unk>", show_progress=False)
    tokenizer = words(models.Unigram(), trainer, normalizer, pre_tokenizer)
    state = json.loads(tokenizer.to_str())["model"]
    vocab = [tuple(entry) for entry in state["vocab"]]
    kept = specials[:4] if not byte_fallback else specials
    tokenizer = Tokenizer(models.Unigram(vocab, kept.index("<unk>"), byte_fallback))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in specials[:4]])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def xlmr():
    normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap()),
                                       normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer = unigram(normalizer, pre_tokenizers.Metaspace(MARK, prepend_scheme="always", split=True))
    tokenizer.decoder = decoders.Metaspace(MARK, prepend_scheme="always")
    ids = [(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ids)
    return tokenizer


def t5():
    normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    pre = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                   pre_tokenizers.Metaspace(MARK, prepend_scheme="always", split=True)])
    tokenizer = unigram(normalizer, pre)
    tokenizer.decoder = decoders.Metaspace(MARK, prepend_scheme="always")
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", end)])
    return tokenizer


def unigram_bytes():
    tokenizer = unigram(None, pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=True), True, 1200)
    steps = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def affixed(normalizer, pre_tokenizer, alphabet=(), specials=("<|endoftext|>",), **affixes):
    """BPE whose tokens at the end of a word, or those within it, have names of their own."""
    tokenizer = Tokenizer(models.BPE(unk_token=specials[-1], **affixes))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=2500, initial_alphabet=list(alphabet), special_tokens=list(specials),
                                  show_progress=False, limit_alphabet=400, **affixes)
    tokenizer.train_from_iterator(corpus(), trainer)
    state = json.loads(tokenizer.to_str())
    whole = {letter + affixes.get("end_of_word_suffix", "") for letter in alphabet}
    within = {affixes.get("continuing_subword_prefix", "") + letter for letter in alphabet}
    both = {affixes.get("continuing_subword_prefix", "") + letter for letter in whole}
    vocab = state["model"]["vocab"]
    for token in sorted(whole | within | both):
        vocab.setdefault(token, len(vocab))
    return Tokenizer.from_str(json.dumps(state))


def clip():
    split = pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True)
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                       normalizers.Lowercase()])
    tokenizer = affixed(normalizer, pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]),
                        pre_tokenizers.ByteLevel.alphabet(), ("<|startoftext|>", "<|endoftext|>"),
                        end_of_word_suffix="</w>")
    tokenizer.decoder = decoders.ByteLevel()
    pair = [(t, tokenizer.token_to_id(t)) for t in ("<|endoftext|>", "<|startoftext|>")]
    tokenizer.post_processor = processors.RobertaProcessing(*pair, trim_offsets=False, add_prefix_space=False)
    return tokenizer


def openai_gpt():
    """Words end with a suffix that decoding makes a space."""
    tokenizer = affixed(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), (), ("<unk>",),
                        end_of_word_suffix="</w>")
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    return tokenizer


def both_affixes():
    tokenizer = affixed(None, pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet(),
                        continuing_subword_prefix="##", end_of_word_suffix="@@")
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def scripts():
    return byte_level(pre_tokenizers.Sequence([pre_tokenizers.UnicodeScripts(),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False)]), size=1000)


def letters():
    """Splits after ByteLevel see the letters in which it writes bytes, those that no byte is among them."""
    split = pre_tokenizers.Split
    return byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), split(Regex(r"\p{Lu}"), "merged_with_next"),
        split("\u0120", "merged_with_next"), split(Regex(r"[^\p{L}]+"), "isolated"), pre_tokenizers.Punctuation(),
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.FixedLength(5)]), size=1000)


def byte_normalizer():
    """Bytes are written as letters before anything is split."""
    return byte_level(pre_tokenizers.Split(Regex("\u0120?[^\u0120\u010a]+|\u010a+"), "isolated"),
                      normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.ByteLevel()]), size=1000)


def twice():
    """Two ByteLevel: letters of letters, of which decoding takes back one."""
    return byte_level(pre_tokenizers.Sequence([
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), pre_tokenizers.Punctuation(),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]), size=1000)


def gemma4():
    """As Gemma, split at line ends alone; a regex that sees the mark of a space."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"[^\n]+|[\n]+"), "isolated"),
                                   pre_tokenizers.Split(Regex(r"\p{S}{3,}"), "merged_with_previous")])
    return sentencepiece(normalizers.Replace(" ", MARK), pre, False)


def neox():
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizer=normalizers.NFC(), size=1000)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|padding|>"])
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    return tokenizer


def deepseek_llm():
    patterns = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    last = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False, use_regex=False)]
    return byte_level(pre_tokenizers.Sequence(splits + last), size=1000)


def wordpiece_apart():
    tokenizer = wordpiece(True, None)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return tokenizer


def ctc():
    """Letters, as models that hear have them."""
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|"] + list("ETAOINHSRDLUMWCFGYPBVK'XJQZ")
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex("[a-z]"), "E"), normalizers.Replace(" ", "|")])
    tokenizer.pre_tokenizer = pre_tokenizers.FixedLength(1)
    tokenizer.decoder = decoders.CTC(pad_token="<pad>", word_delimiter_token="|", cleanup=True)
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return tokenizer


def inner_prefix():
    """A space in front of each piece of another split; a text that is tidied up as a whole."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(True)])
    tokenizer = byte_level(pre, size=900)
    tokenizer.add_tokens([AddedToken("object", normalized=True, lstrip=True)])
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("  ", " "), decoders.WordPiece(cleanup=True)])
    return tokenizer


def inner_marks():
    """Marks within pieces, and at the beginning of the text alone; a last token is shown without its suffix."""
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\p{N}"), "merged_with_previous"),
                                   pre_tokenizers.Metaspace(prepend_scheme="first")])
    vocab, merges = train(pre, 500, False)
    vocab = {token: index for index, token in enumerate(["<unk>"] + sorted(vocab, key=vocab.get))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Sequence([decoders.BPEDecoder(suffix="e"), decoders.Fuse(), decoders.Metaspace(prepend_scheme="never")])
    return tokenizer


FAMILIES = {f.__name__: f for f in (gpt2, llama3, qwen2, smollm, llama2, metaspace, phi3, gemma, added, roberta, bert,
                                    bert_cased, wordlevel, xlmr, t5, unigram_bytes, tekken, gpt4o,
                                    deepseek3, falcon, clip, openai_gpt, both_affixes, scripts, letters,
                                    byte_normalizer, twice, gemma4, neox, deepseek_llm, wordpiece_apart, ctc,
                                    inner_prefix, inner_marks)}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, make in FAMILIES.items():
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        tokenizer = make()
        text = tokenizer.to_str()
        (OUT / f"{name}.tokenizer.json").write_text(text + "\n", encoding="utf-8")
        content = [token["content"] for token in json.loads(text)["added_tokens"]]
        rng = random.Random(name)
        texts = ["", " ", "\n"] + SCRIPTS + [adversarial(rng, content) for _ in range(150)]
        if name == "unigram_bytes":  # the package takes the name of a byte in a text for that byte
            texts = [text.replace("<0x41>", "") for text in texts]
        if name == "scripts":  # whose package knows no script of it
            texts = [text.replace("\U0001f999", "") for text in texts]
        if name == "byte_normalizer":  # a syllable that what follows is no part of
            texts.append("\ud440\u11a7\u0301")
        cases = []
        for case in texts:
            ids = tokenizer.encode(case).ids
            cases.append([case, ids, tokenizer.decode(ids)])
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        (OUT / f"{name}.cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        print(f"{name}: {tokenizer.get_vocab_size()} tokens, {len(text)} bytes, {len(cases)} cases")


if __name__ == "__main__":
    main()
