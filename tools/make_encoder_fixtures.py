#!/usr/bin/env python3
"""Tiny random encoders of texts, with what `transformers` makes of some texts; and, of a real one, the vectors of fifty
sentences by `sentence-transformers`.

    make_encoder_fixtures.py --out tests/fixtures/encoder                  needs torch, transformers, tokenizers, numpy, and
                                                                           sentence-transformers for Dense stages
    make_encoder_fixtures.py --out tests/fixtures/encoder --minilm FOLDER  needs sentence-transformers too

Written to DIR/NAME/: config.json, model.safetensors, tokenizer.json, the files of sentence-transformers, off.json (of
each feature the settings that switch it off, by file) and expected.json: "texts", "tokens" of each and "numbers", which
serving is to answer with; of classifiers "pairs" too. DIR/minilm.json: "sentences", "vectors" in base64 of float32, and
"similar": pairs of sentences with a judgement from 0 to 5, made up for this file, and the cosines of the vectors.
"""
import argparse
import base64
import json
import os
import types

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

TEXTS = ["hello world", "The quick brown fox jumps over the lazy dog.", "a", "naïve café, déjà vu!",
         "numbers 1 22 333 4444 and some more words so that the text is rather long, as texts go: one two three four five",
         "xyzzy 日本 unknown"]
PAIRS = [["what is a fox?", "The quick brown fox jumps."], ["hello", "world"],
         ["a longer question about numbers 1 22 333", "a"]]
WORDS = ("the quick brown fox jump over lazy dog hello world what is a number and some more word so that text rather long as go "
         "one two three four five naive cafe deja vu question about").split()
SIZES = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 52,
         "max_position_embeddings": 64, "vocab_size": 160, "initializer_range": 0.3, "layer_norm_eps": 1e-5}

POOLING = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "last": "pooling_mode_lasttoken"}


def word_piece(second=1):
    """second: the type of a second text's tokens."""
    letters = [chr(c) for c in range(33, 127)]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS + [l for l in letters if not l.isupper() and l not in WORDS]
    vocab += [p for p in ("##s", "##ed", "##4", "##3", "##2", "##z") if p not in vocab]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] $B:{second} [SEP]:{second}", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = tokenizers.decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return tokenizer


def byte_bpe(ends=None):
    """ends: a token that ends texts, and nothing before them, as Qwen's tokenizer for embeddings has it."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {t: i for i, t in enumerate(special + letters)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    if ends:
        tokenizer.post_processor = tokenizers.processors.Sequence([
            tokenizers.processors.ByteLevel(trim_offsets=False),
            tokenizers.processors.TemplateProcessing(single=f"$A {ends}", pair=f"$A $B:1 {ends}:1", special_tokens=[(ends, 2)])])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


# Roles as sentence-transformers names them, an instruction with a default, and words that a text's letters merge with:
# "<Query>: " and what follows, a text and the line's end.
RANKER_TEMPLATE = """{%- set said = messages | selectattr("role", "eq", "system") | map(attribute="content") | first | default("find it") -%}
<|im_start|>system
yes or no<|im_end|>
<|im_start|>user
<Instruct>: {{ said }}
<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}
<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}<|im_end|>
{% if add_generation_prompt %}<|im_start|>assistant
<think>

</think>

{% endif %}"""
# The same with contents that are lists of parts, an instruction at the end, and no beginning of an answer.
PARTS_TEMPLATE = """{%- for message in messages if message.role != "system" -%}
<|im_start|>{{ message.role }}
{{ message.content[0].text }}<|im_end|>
{% endfor -%}
{%- for message in messages if message.role == "system" %}{{ message.content[0].text }}? {% endfor -%}"""


def unigram():
    """As XLM-R's: pieces with scores, a few of SentencePiece's rules for characters, and <mask> behind all."""
    from make_tokenizer_fixtures import charsmap
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [mark + word for word in dict.fromkeys(WORDS) for mark in ("\u2581", "")] + ["\u2581"]
    pieces += [letter for letter in map(chr, range(33, 127)) if letter not in pieces] + ["\u00e9", "\u00ef", "\u2581ju", "ump", "ps"]
    pieces = list(dict.fromkeys(pieces))
    vocab = [(token, 0.0) for token in special] + [(p, -8.0 + len(p) / 2 - i / 64) for i, p in enumerate(pieces)] + [("<mask>", 0.0)]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, 3, False))
    tokenizer.normalizer = tokenizers.normalizers.Precompiled(charsmap())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.WhitespaceSplit(), tokenizers.pre_tokenizers.Metaspace("\u2581", prepend_scheme="always")])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.decoder = tokenizers.decoders.Metaspace("\u2581", prepend_scheme="always")
    tokenizer.add_special_tokens(special + [tokenizers.AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def ranker_bpe():
    """Byte-level, with merges across the seams of RANKER_TEMPLATE, and Qwen's special tokens."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = [("y", "e"), ("ye", "s"), ("n", "o"), ("Ġ", "h"), ("Ġh", "e"), (".", "Ċ"), ("?", "Ċ"), ("Ċ", "Ċ"), ("Ġ", "a"),
              ("o", "x"), ("Ġ", "T"), ("r", "i"), (">", ":")]
    words = special + letters + [a + b for a, b in merges]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({t: i for i, t in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"), "isolated"),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return tokenizer


def bert(**change):
    return transformers.BertConfig(**{**SIZES, "pad_token_id": 0, **change})


def roberta(**change):
    sizes = {**SIZES, "vocab_size": 260, "max_position_embeddings": 130, "type_vocab_size": 1}
    return transformers.RobertaConfig(**{**sizes, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, **change})


def modernbert(**change):
    sizes = {**SIZES, "num_attention_heads": 2, "hidden_size": 32, "vocab_size": 260, "max_position_embeddings": 130,
             "num_hidden_layers": 4, "local_attention": 12, "norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0,
             "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2}
    return transformers.ModernBertConfig(**{**sizes, **change})


def qwen(kind=transformers.Qwen3Config, **change):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
             "intermediate_size": 52, "vocab_size": 260, "max_position_embeddings": 160, "rope_theta": 1e6, "pad_token_id": 1,
             "bos_token_id": None, "eos_token_id": 2}
    return kind(**{**sizes, **change})


def gemma(kind, **change):
    """With GGUF's or config.json's usual head, and the token that texts end with as padding: what a classifier looks at is before it."""
    return qwen(kind, **{"hidden_size": 24, "head_dim": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 20,
                         "query_pre_attn_scalar": 8, "sliding_window": 9, "hidden_activation": "gelu_pytorch_tanh", "pad_token_id": 2,
                         **change})


def nomic(**change):
    sizes = {**SIZES, "num_attention_heads": 3, "type_vocab_size": 2, "hidden_act": "silu", "pad_token_id": 0}
    return transformers.NomicBertConfig(**{**sizes, **change})


def dense(*stages):
    """(in, out, bias, activation) of each."""
    from sentence_transformers.models import Dense
    return [Dense(i, o, bias=bias, activation_function=act) for i, o, bias, act in stages]


# As configs before transformers 5 say it.
MODERN_OLD = {"layer_types": None, "rope_parameters": None, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
              "local_rope_theta": 10000.0}
# As the checkpoints on the hub have them, which transformers renames.
NOMIC_SAYS = {"n_embd": 36, "n_layer": 2, "n_head": 3, "n_inner": 52, "n_positions": 64, "rotary_emb_base": 1000,
              "rotary_emb_fraction": 1.0, "layer_norm_epsilon": 1e-5, "activation_function": "swiglu", "prenorm": False,
              "qkv_proj_bias": False, "mlp_fc1_bias": False, "mlp_fc2_bias": False, "hidden_size": None,
              "num_hidden_layers": None, "num_attention_heads": None, "intermediate_size": None,
              "max_position_embeddings": None, "layer_norm_eps": None, "hidden_act": None, "rope_parameters": None,
              "head_dim": None, "model_type": "nomic_bert"}
NOMIC_NAMES = {"layers.": "encoder.layers.", "embeddings.LayerNorm": "emb_ln", "self_attn.o_proj": "attn.out_proj",
               "up_proj": "fc11", "gate_proj": "fc12", "down_proj": "fc2", "post_attention_layernorm": "norm1",
               "post_mlp_layernorm": "norm2"}


def nomic_name(tensors):
    joined = {}
    for name, tensor in tensors.items():
        for here, there in NOMIC_NAMES.items():
            name = name.replace(here, there)
        if ".self_attn." not in name:
            joined[name] = tensor
    for i in range(2):
        joined[f"encoder.layers.{i}.attn.Wqkv.weight"] = torch.cat(
            [tensors[f"layers.{i}.self_attn.{part}_proj.weight"] for part in "qkv"])
    return joined


class NomicExperts(torch.nn.Module):
    """nomic-embed-text-v2-moe's network, which transformers has no class for: NomicBERT's attention, plain feed-forwards, and in
    each second layer experts, two a token, weighted by their softmax over all, behind whose sum a vector is added. Its state
    has the names of the hub's files."""

    def __init__(self, config):
        super().__init__()
        self.config, n, wide, most = config, config.n_embd, config.n_inner, config.num_experts
        self.embeddings = torch.nn.ModuleDict({"word_embeddings": torch.nn.Embedding(config.vocab_size, n),
                                               "token_type_embeddings": torch.nn.Embedding(config.type_vocab_size, n)})
        self.emb_ln = torch.nn.LayerNorm(n, config.layer_norm_epsilon)
        self.encoder = torch.nn.ModuleDict({"layers": torch.nn.ModuleList()})
        for i in range(config.n_layer):
            layer = torch.nn.ModuleDict({"attn": torch.nn.ModuleDict({"Wqkv": torch.nn.Linear(n, 3 * n),
                                                                      "out_proj": torch.nn.Linear(n, n)}),
                                         "norm1": torch.nn.LayerNorm(n, config.layer_norm_epsilon), "mlp": torch.nn.ModuleDict(),
                                         "norm2": torch.nn.LayerNorm(n, config.layer_norm_epsilon)})
            if i % config.moe_every_n_layers == 1:
                layer["mlp"]["router"] = torch.nn.ModuleDict({"layer": torch.nn.Linear(n, most, bias=False)})
                layer["mlp"]["experts"] = experts = torch.nn.Module()
                experts.bias = torch.nn.Parameter(torch.zeros(n))
                experts.mlp = torch.nn.ParameterDict({w: torch.zeros(most * wide, n) for w in ("w1", "w2")})
            else:
                layer["mlp"].update({"fc1": torch.nn.Linear(n, wide), "fc2": torch.nn.Linear(wide, n)})
            self.encoder["layers"].append(layer)

    def attend(self, layer, x):
        count, heads = len(x), self.config.n_head
        q, k, v = layer["Wqkv"](x).reshape(count, 3, heads, -1).permute(1, 2, 0, 3)
        half = q.shape[-1] // 2
        angle = torch.outer(torch.arange(count), self.config.rotary_emb_base ** (-torch.arange(half) / half))
        turn = lambda y: torch.cat([y[..., :half] * angle.cos() - y[..., half:] * angle.sin(),
                                    y[..., half:] * angle.cos() + y[..., :half] * angle.sin()], -1)
        scores = (turn(q) @ turn(k).mT / (2 * half) ** 0.5).softmax(-1)
        return layer["out_proj"]((scores @ v).transpose(0, 1).reshape(count, -1))

    def mix(self, mlp, x):
        w1, w2 = (mlp["experts"].mlp[w].reshape(self.config.num_experts, -1, x.shape[1]) for w in ("w1", "w2"))
        shares, chosen = mlp["router"]["layer"](x).softmax(-1).topk(self.config.moe_top_k)
        each = [[share * (torch.nn.functional.gelu(token @ w1[e].T) @ w2[e]) for share, e in zip(*pair)]
                for token, pair in zip(x, zip(shares, chosen))]
        return torch.stack([sum(parts) for parts in each]) + mlp["experts"].bias

    def forward(self, input_ids, token_type_ids):
        x = self.emb_ln(self.embeddings["word_embeddings"](input_ids[0]) + self.embeddings["token_type_embeddings"](token_type_ids[0]))
        for layer in self.encoder["layers"]:
            x = layer["norm1"](x + self.attend(layer["attn"], x))
            mlp = layer["mlp"]
            x = layer["norm2"](x + (self.mix(mlp, x) if "router" in mlp else mlp["fc2"](torch.nn.functional.gelu(mlp["fc1"](x)))))
        return types.SimpleNamespace(last_hidden_state=x[None])


class JinaBert(torch.nn.Module):
    """jina-embeddings-v2's network, which transformers has no class for: BERT whose scores fall with the distance of two tokens
    (symmetric ALiBi) and whose feed-forwards are gated. Its state has the names of the hub's files."""

    def __init__(self, config):
        super().__init__()
        self.config, n = config, config.hidden_size
        norm = lambda: torch.nn.LayerNorm(n, config.layer_norm_eps)
        self.embeddings = torch.nn.ModuleDict({"word_embeddings": torch.nn.Embedding(config.vocab_size, n),
                                               "token_type_embeddings": torch.nn.Embedding(config.type_vocab_size, n),
                                               "LayerNorm": norm()})
        self.encoder = torch.nn.ModuleDict({"layer": torch.nn.ModuleList(torch.nn.ModuleDict({
            "attention": torch.nn.ModuleDict({
                "self": torch.nn.ModuleDict({word: torch.nn.Linear(n, n) for word in ("query", "key", "value")}),
                "output": torch.nn.ModuleDict({"dense": torch.nn.Linear(n, n), "LayerNorm": norm()})}),
            "mlp": torch.nn.ModuleDict({"gated_layers": torch.nn.Linear(n, 2 * config.intermediate_size, bias=False),
                                        "wo": torch.nn.Linear(config.intermediate_size, n), "layernorm": norm()})})
            for _ in range(config.num_hidden_layers))})

    def forward(self, input_ids, token_type_ids):
        heads, count = self.config.num_attention_heads, input_ids.shape[1]
        apart = (torch.arange(count)[:, None] - torch.arange(count)).abs()
        powers = torch.tensor([2.0 ** -4, 2.0 ** -8, 2.0 ** -2])  # of three heads: those of two, and the first of four
        x = self.embeddings["LayerNorm"](self.embeddings["word_embeddings"](input_ids[0]) +
                                         self.embeddings["token_type_embeddings"](token_type_ids[0]))
        for layer in self.encoder["layer"]:
            own, out, mlp = layer["attention"]["self"], layer["attention"]["output"], layer["mlp"]
            q, k, v = (own[word](x).reshape(count, heads, -1).transpose(0, 1) for word in ("query", "key", "value"))
            scores = (q @ k.mT / q.shape[-1] ** 0.5 - powers[:, None, None] * apart).softmax(-1)
            x = out["LayerNorm"](x + out["dense"]((scores @ v).transpose(0, 1).reshape(count, -1)))
            gate, up = mlp["gated_layers"](x).chunk(2, -1)
            x = mlp["layernorm"](x + mlp["wo"](torch.nn.functional.gelu(gate) * up))
        return types.SimpleNamespace(last_hidden_state=x[None])


JINA_SAYS = {"position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": "mean"}


class NomicConfig(dict):
    """A config whose fields are those of config.json."""
    __getattr__ = dict.__getitem__

    def to_dict(self):
        return dict(self)


NOMIC_MOE = NomicConfig(
    n_embd=36, hidden_size=36, n_layer=2, n_head=3, n_inner=20, n_positions=64, vocab_size=160, type_vocab_size=1, layer_norm_epsilon=1e-5,
    rotary_emb_base=1000, rotary_emb_fraction=1.0, rotary_emb_interleaved=False, rotary_emb_scale_base=None,
    activation_function="gelu", prenorm=False, qkv_proj_bias=True, mlp_fc1_bias=True, mlp_fc2_bias=True, use_rms_norm=None,
    causal=False, parallel_block=False, moe_every_n_layers=2, num_experts=5, moe_top_k=2, moe_normalize_expert_weights=False,
    expert_choice_router=False, num_shared_experts=0, pad_token_id=0, model_type="nomic_bert")


PROMPTS = {"query": "number: ", "document": "", "passage": "the text "}
ACT_OFF = {"config.json": {"hidden_act": "gelu_pytorch_tanh"}}
HEADS_OFF = {"config.json": {"num_attention_heads": 2}}
EPS_OFF = {"config.json": {"layer_norm_eps": 0.3}}
CHECKPOINTS = {
    "bert": {"model": transformers.BertModel, "config": bert(), "tokenizer": word_piece, "pool": "mean", "normalize": True,
             "off": {"act": ACT_OFF, "heads": HEADS_OFF, "eps": EPS_OFF,
                     "pooling": {"1_Pooling/config.json": {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}},
                     "normalize": {"modules.json": 2}}},
    "bert-last": {"model": transformers.BertModel, "config": bert(hidden_act="gelu_new", num_hidden_layers=3), "tokenizer": word_piece,
                  "pool": "last", "normalize": False,
                  "off": {"act": {"config.json": {"hidden_act": "gelu"}},
                          "pooling": {"1_Pooling/config.json": {"pooling_mode_lasttoken": False,
                                                                "pooling_mode_cls_token": True}}}},
    "bert-pairs": {"model": transformers.BertForSequenceClassification, "config": bert(num_labels=1), "tokenizer": word_piece,
                   "act": torch.sigmoid,
                   "off": {"sigmoid": {"config.json": {
                       "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}},
                       "types": {"tokenizer.json": "second type"}}},
    "bert-labels": {"model": transformers.BertForSequenceClassification,
                    "config": bert(id2label={0: "bad", 1: "so so", 2: "good"}), "tokenizer": word_piece,
                    "act": lambda x: torch.softmax(x, -1),
                    "off": {"softmax": {"config.json": {"problem_type": "multi_label_classification"}}}},
    "roberta": {"model": transformers.RobertaModel, "config": roberta(), "tokenizer": byte_bpe, "pool": "cls",
                "normalize": True, "longest": 120, "off": {"positions": {"config.json": {"pad_token_id": 0}}, "heads": HEADS_OFF}},
    "bert-dense": {"model": transformers.BertModel, "config": bert(), "tokenizer": word_piece, "pool": "cls", "normalize": False,
                   "dense": lambda: dense((36, 44, True, torch.nn.Tanh()), (44, 20, False, torch.nn.Identity())),
                   "sentences": {"prompts": PROMPTS, "default_prompt_name": "passage", "similarity_fn_name": "dot"},
                   "off": {"tanh": {"2_Dense/config.json": {"activation_function": "torch.nn.modules.linear.Identity"}},
                           "prompt": {"config_sentence_transformers.json": {"default_prompt_name": None}}}},
    "modernbert": {"model": transformers.ModernBertModel, "config": modernbert(), "tokenizer": byte_bpe, "pool": "mean",
                   "normalize": True, "longest": 120, "settings": MODERN_OLD,
                   "off": {"window": {"config.json": {"local_attention": 40}},
                           "layers": {"config.json": {"global_attn_every_n_layers": 2}},
                           "global rotation": {"config.json": {"global_rope_theta": 10000.0}},
                           "local rotation": {"config.json": {"local_rope_theta": 160000.0}},
                           "act": {"config.json": {"hidden_activation": "silu"}},
                           "eps": {"config.json": {"norm_eps": 0.3}}}},
    "modernbert-labels": {"model": transformers.ModernBertForSequenceClassification,
                          "config": modernbert(norm_bias=True, attention_bias=True, mlp_bias=True, classifier_bias=True,
                                               classifier_pooling="mean", id2label={0: "bad", 1: "so so", 2: "good"}),
                          "tokenizer": byte_bpe, "act": lambda x: torch.softmax(x, -1),
                          "off": {"pooling": {"config.json": {"classifier_pooling": "cls"}},
                                  "act": {"config.json": {"classifier_activation": "silu"}}}},
    "qwen3": {"model": transformers.Qwen3Model, "config": qwen(), "tokenizer": lambda: byte_bpe("</s>"), "pool": "last",
              "normalize": True, "architecture": "Qwen3ForCausalLM", "longest": 150,
              "sentences": {"prompts": {"query": "Instruct: find it\nQuery:", "document": ""}, "default_prompt_name": None,
                            "similarity_fn_name": "cosine"},
              "off": {"causal": {"config.json": {"is_causal": False}}, "rotation": {"config.json": {"rope_theta": 10000.0,
                                                                                                   "rope_parameters": None}}}},
    "qwen3-pairs": {"model": transformers.Qwen3ForSequenceClassification, "config": qwen(num_labels=1),
                    "tokenizer": lambda: byte_bpe("</s>"), "act": torch.sigmoid, "off": {}},
    "mistral": {"model": transformers.MistralModel, "config": qwen(transformers.MistralConfig, sliding_window=9),
                "tokenizer": byte_bpe, "pool": "last", "normalize": True, "longest": 150,
                "off": {"window": {"config.json": {"sliding_window": 40}}, "no window": {"config.json": {"sliding_window": None}}}},
    "gemma3": {"model": transformers.Gemma3TextModel,
               # GGUF does not state which layers see everything: every sixth
               "config": qwen(transformers.Gemma3TextConfig, sliding_window=10, use_bidirectional_attention=True, rope_theta=1e6,
                              layer_types=["sliding_attention"] * 5 + ["full_attention"], query_pre_attn_scalar=8,
                              hidden_activation="gelu_pytorch_tanh", num_hidden_layers=6, hidden_size=24, head_dim=8,
                              num_attention_heads=2, num_key_value_heads=1, intermediate_size=20),
               "tokenizer": byte_bpe, "pool": "mean", "normalize": True, "longest": 150,
               "settings": {"sliding_window": 10},  # which its class halves, as the files' is of both sides together
               "dense": lambda: dense((24, 40, False, torch.nn.Identity()), (40, 24, False, torch.nn.Identity())),
               "off": {"layers": {"config.json": {"layer_types": ["full_attention"] + ["sliding_attention"] * 5}},
                       "window": {"config.json": {"sliding_window": 40}}, "scale": {"config.json": {"query_pre_attn_scalar": 40}},
                       "both ways": {"config.json": {"use_bidirectional_attention": False}}}},
    "nomic": {"model": transformers.NomicBertModel, "config": nomic(), "tokenizer": word_piece, "pool": "mean", "normalize": True,
              "rename": nomic_name, "settings": NOMIC_SAYS,
              "off": {"rotation": {"config.json": {"rotary_emb_base": 40.0}}, "heads": {"config.json": {"n_head": 2}},
                      "eps": {"config.json": {"layer_norm_epsilon": 0.3}}}},
    "nomic-moe": {"model": NomicExperts, "config": NOMIC_MOE, "architecture": "NomicBertModel", "tokenizer": lambda: word_piece(0),
                  "pool": "mean", "normalize": True, "twin_lacks": "experts.bias",
                  "off": {"k": {"config.json": {"moe_top_k": 1}}, "rotation": {"config.json": {"rotary_emb_base": 40}},
                          "act": {"config.json": {"activation_function": "gelu_pytorch_tanh"}},
                          "eps": {"config.json": {"layer_norm_epsilon": 0.3}}}},
    "mpnet": {"model": transformers.MPNetModel, "config": transformers.MPNetConfig(**{
                  **SIZES, "vocab_size": 260, "max_position_embeddings": 162, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}),
              "tokenizer": byte_bpe, "pool": "mean", "normalize": True, "longest": 150,
              "off": {"act": {"config.json": {"hidden_act": "silu"}}, "eps": EPS_OFF}},
    "distilbert": {"model": transformers.DistilBertModel, "config": transformers.DistilBertConfig(
                       vocab_size=160, max_position_embeddings=64, n_layers=2, n_heads=3, dim=36, hidden_dim=52, pad_token_id=0),
                   "tokenizer": word_piece, "pool": "cls", "normalize": True,
                   "off": {"act": {"config.json": {"activation": "silu"}}, "heads": {"config.json": {"n_heads": 2}}}},
    "electra-pairs": {"model": transformers.ElectraForSequenceClassification, "config": transformers.ElectraConfig(**{
                          **SIZES, "hidden_size": 24, "embedding_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1,
                          "intermediate_size": 32, "pad_token_id": 0, "num_labels": 1}),
                      "tokenizer": word_piece, "act": torch.sigmoid,
                      "off": {"types": {"tokenizer.json": "second type"}, "act": {"config.json": {"hidden_act": "silu"}}}},
    "distilbert-labels": {"model": transformers.DistilBertForSequenceClassification, "config": transformers.DistilBertConfig(
                              vocab_size=160, max_position_embeddings=64, n_layers=1, n_heads=2, dim=24, hidden_dim=32, pad_token_id=0,
                              id2label={0: "NEGATIVE", 1: "POSITIVE"}),
                          "tokenizer": word_piece, "act": lambda x: torch.softmax(x, -1),
                          "off": {"softmax": {"config.json": {"problem_type": "multi_label_classification"}}}},
    "mpnet-labels": {"model": transformers.MPNetForSequenceClassification, "config": transformers.MPNetConfig(**{
                         **SIZES, "vocab_size": 260, "max_position_embeddings": 162, "pad_token_id": 1, "bos_token_id": 0,
                         "eos_token_id": 2, "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 20,
                         "problem_type": "multi_label_classification", "id2label": {0: "joy", 1: "fear", 2: "grief"}}),
                     "tokenizer": byte_bpe, "act": torch.sigmoid,
                     "off": {"sigmoid": {"config.json": {"problem_type": "single_label_classification"}}}},
    "gemma2-labels": {"model": transformers.Gemma2ForSequenceClassification, "config": gemma(
                          transformers.Gemma2Config, id2label={0: "low", 1: "middle", 2: "high"}),
                      "tokenizer": lambda: byte_bpe("</s>"), "act": lambda x: torch.softmax(x, -1),
                      "off": {"padding": {"config.json": {"pad_token_id": 1}}, "cap": {"config.json": {"attn_logit_softcapping": 0.5}},
                              "window": {"config.json": {"sliding_window": 40}}}},
    "gemma3-reward": {"model": transformers.Gemma3TextForSequenceClassification, "config": gemma(
                          transformers.Gemma3TextConfig, num_labels=1, problem_type="regression",
                          layer_types=["sliding_attention", "full_attention"]),
                      "tokenizer": lambda: byte_bpe("</s>"), "act": lambda x: x,
                      "off": {"padding": {"config.json": {"pad_token_id": 1}}, "regression": {"config.json": {"problem_type": None}}}},
    "jina-bert": {"model": JinaBert, "config": transformers.BertConfig(**{**SIZES, "hidden_act": "gelu", "pad_token_id": 0}),
                  "architecture": "JinaBertForMaskedLM", "settings": JINA_SAYS, "tokenizer": word_piece, "pool": "mean", "normalize": True,
                  "off": {"act": {"config.json": {"hidden_act": "silu"}}, "heads": {"config.json": {"num_attention_heads": 2}},
                          "eps": EPS_OFF}},
    "bert-without": {"model": transformers.BertModel, "config": bert(num_hidden_layers=1), "tokenizer": word_piece, "pool": "mean",
                     "normalize": True, "without_prompt": True, "tokenizer_config": {
                         "tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]",
                         "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"},
                     "sentences": {"prompts": PROMPTS, "default_prompt_name": "passage", "similarity_fn_name": "cosine"},
                     "off": {"without": {"1_Pooling/config.json": {"include_prompt": True}},
                             "pooling": {"1_Pooling/config.json": {"pooling_mode_mean_tokens": False,
                                                                   "pooling_mode_cls_token": True}},
                             "prompt": {"config_sentence_transformers.json": {"default_prompt_name": None}}}},
    "xlm-roberta-pairs": {"model": transformers.XLMRobertaForSequenceClassification,
                          "config": transformers.XLMRobertaConfig(**{**roberta().to_dict(), "num_labels": 1}),
                          "tokenizer": unigram, "act": torch.sigmoid,
                          "off": {"positions": {"config.json": {"pad_token_id": 0}}}},
}


def write_json(path, value, indent=1):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def stages(folder, spec, layers):
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + [(f"{2 + i}_Dense", "Dense") for i in range(len(layers))]
    kinds += [(f"{2 + len(layers)}_Normalize", "Normalize")] if spec["normalize"] else []
    for i, layer in enumerate(layers):
        os.makedirs(f"{folder}/{2 + i}_Dense", exist_ok=True)
        layer.save(f"{folder}/{2 + i}_Dense")
    if "sentences" in spec:
        write_json(f"{folder}/config_sentence_transformers.json", spec["sentences"])
    write_json(f"{folder}/modules.json", [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
                                          for i, (path, kind) in enumerate(kinds)])
    write_json(f"{folder}/1_Pooling/config.json", {"word_embedding_dimension": spec["config"].hidden_size,
                                                   **{flag: name == spec["pool"] for name, flag in POOLING.items()},
                                                   **({"include_prompt": False} if "without_prompt" in spec else {})})
    write_json(f"{folder}/sentence_bert_config.json", {"max_seq_length": spec.get("longest", 48),
                                                         "do_lower_case": False})


def numbers_of(model, spec, encoding, layers=()):
    given = {"input_ids": torch.tensor([encoding.ids])}
    if getattr(spec["config"], "type_vocab_size", 0):
        given["token_type_ids"] = torch.tensor([encoding.type_ids])
    with torch.no_grad():
        if "act" in spec:
            return spec["act"](model(**given).logits[0])
        rows = model(**given).last_hidden_state[0]
        vector = {"cls": rows[0], "last": rows[-1], "mean": rows.mean(0)}[spec["pool"]]
        for layer in layers:
            vector = layer({"sentence_embedding": vector})["sentence_embedding"]
    return vector / vector.norm() if spec["normalize"] else vector


def make_random(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name.lower() and name.endswith("weight")))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.3)
            parameter.copy_(parameter.bfloat16().float())


def write_checkpoint(folder, spec):
    torch.manual_seed(len(folder))
    os.makedirs(folder, exist_ok=True)
    model = spec["model"](spec["config"]).eval()
    make_random(model)
    layers = spec["dense"]() if "dense" in spec else []
    for parameter in (parameter for layer in layers for parameter in layer.parameters()):
        parameter.data = parameter.data.bfloat16().float()
    config = {**spec["config"].to_dict(), "architectures": [spec.get("architecture", type(model).__name__)]}
    for key, value in spec.get("settings", {}).items():
        config[key] = value
        if value is None:
            del config[key]
    write_json(f"{folder}/config.json", {k: v for k, v in config.items() if k not in ("transformers_version", "dtype")})
    tensors = spec.get("rename", dict)(model.state_dict())
    save_file({k: v.bfloat16().contiguous() for k, v in tensors.items() if v.is_floating_point()},
              f"{folder}/model.safetensors", metadata={"format": "pt"})
    tokenizer = spec["tokenizer"]()
    with open(f"{folder}/tokenizer.json", "w", encoding="utf-8") as file:
        file.write(tokenizer.to_str() + "\n")
    if "pool" in spec:
        stages(folder, spec, layers)
    write_json(f"{folder}/off.json", spec["off"])
    expected = {"texts": [], "pairs": []}
    said = spec.get("sentences", {"prompts": {}, "default_prompt_name": None})
    for name, given in (("texts", TEXTS), ("pairs", PAIRS if "act" in spec else [])):
        for text in given:
            before = said["prompts"].get(said["default_prompt_name"], "") if name == "texts" else ""
            encoding = tokenizer.encode(*text) if name == "pairs" else tokenizer.encode(before + text)
            numbers = numbers_of(model, spec, encoding, layers)
            expected[name].append({"text": text, "tokens": len(encoding.ids), "numbers": [round(float(x), 8) for x in numbers]})
    for prompt, before in said["prompts"].items():
        numbers = numbers_of(model, spec, tokenizer.encode(before + TEXTS[0]), layers)
        expected.setdefault("prompts", {})[prompt] = [round(float(x), 8) for x in numbers]
    if "without_prompt" in spec:
        by_sentence_transformers(folder, spec, expected)
    if "twin_lacks" in spec:  # what llama.cpp's converter drops
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter *= not name.endswith(spec["twin_lacks"])
        expected["twin"] = [[round(float(x), 8) for x in numbers_of(model, spec, tokenizer.encode(text), layers)] for text in TEXTS]
    write_json(f"{folder}/expected.json", expected, indent=None)


def by_sentence_transformers(folder, spec, expected):
    """In place of the numbers those of the package, which leaves the tokens of prompts out."""
    from sentence_transformers import SentenceTransformer
    write_json(f"{folder}/tokenizer_config.json", spec["tokenizer_config"])
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.float32})
    for case in expected["texts"]:
        case["numbers"] = [round(float(x), 8) for x in model.encode(case["text"])]
    for name in expected["prompts"]:
        expected["prompts"][name] = [round(float(x), 8) for x in model.encode(TEXTS[0], prompt_name=name)]


RANKERS = {
    "qwen3-yes-no": {"seed": 1, "tied": False, "template": RANKER_TEMPLATE, "no": "no", "asks": True, "act": "activation.Sigmoid",
                     "prompts": {"prompts": {"query": "which is near?", "other": "which is not?"}, "default_prompt_name": "query"},
                     "off": {"no": {"1_LogitScore/config.json": {"false_token_id": None}},
                             "sigmoid": {"config_sentence_transformers.json": {"activation_fn": "torch.nn.modules.linear.Identity"}},
                             "instruction": {"config_sentence_transformers.json": {"default_prompt_name": None}},
                             "answer": {"sentence_bert_config.json": {"processing_kwargs": {}}}}},
    "qwen3-yes": {"seed": 2, "tied": True, "template": PARTS_TEMPLATE, "no": None, "asks": False, "act": "linear.Identity",
                  "prompts": {"prompts": {}, "default_prompt_name": None},
                  "off": {"yes": {"1_LogitScore/config.json": {"true_token_id": 40}},
                          "no": {"1_LogitScore/config.json": {"false_token_id": 41}}}},
}


def write_ranker(folder, spec):
    """Qwen3-Reranker's first form: by sentence-transformers' CrossEncoder, which reads the folder, and by transformers."""
    from sentence_transformers import CrossEncoder
    torch.manual_seed(spec["seed"])
    tokenizer = ranker_bpe()
    model = transformers.Qwen3ForCausalLM(qwen(vocab_size=290, max_position_embeddings=448, tie_word_embeddings=spec["tied"])).eval()
    make_random(model)
    model.bfloat16().save_pretrained(folder)
    os.remove(f"{folder}/generation_config.json")
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    write_json(f"{folder}/config.json", {k: v for k, v in config.items() if k not in ("transformers_version", "dtype")})
    with open(f"{folder}/tokenizer.json", "w", encoding="utf-8") as file:
        file.write(tokenizer.to_str() + "\n")
    with open(f"{folder}/chat_template.jinja", "w", encoding="utf-8") as file:
        file.write(spec["template"])
    write_json(f"{folder}/tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|endoftext|>",
                                                   "eos_token": "<|im_end|>", "padding_side": "left"})
    write_json(f"{folder}/modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_LogitScore",
         "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}])
    write_json(f"{folder}/1_LogitScore/config.json", {
        "true_token_id": tokenizer.token_to_id("yes"), "false_token_id": tokenizer.token_to_id(spec["no"]) if spec["no"] else None,
        "module_input_name": "causal_logits"})
    write_json(f"{folder}/sentence_bert_config.json", {
        "transformer_task": "text-generation", "max_seq_length": 300,
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"},
                            "message": {"method": "forward", "method_output_name": "logits",
                                        "format": "flat" if spec["asks"] else "structured"}},
        "module_output_name": "causal_logits", "processing_kwargs": {"chat_template": {"add_generation_prompt": spec["asks"]}}})
    write_json(f"{folder}/config_sentence_transformers.json", {**spec["prompts"], "model_type": "CrossEncoder",
                                                               "activation_fn": "torch.nn.modules." + spec["act"]})
    ranker = CrossEncoder(folder, device="cpu", model_kwargs={"dtype": torch.float32})
    pairs = PAIRS + [["hello", "The end."], ["yes", "no"], ["", "a"]]
    expected = {"texts": [], "pairs": [], "prompts": {}, "cut": {}}
    for query, document in pairs:
        score = float(ranker.predict([(query, document)])[0])
        tokens = ranker.preprocess([(query, document)], prompt=spec["prompts"]["prompts"].get("query"))["input_ids"][0]
        expected["pairs"].append({"text": [query, document], "tokens": len(tokens), "numbers": [round(score, 8)]})
    for name in spec["prompts"]["prompts"]:
        expected["prompts"][name] = [round(float(ranker.predict([PAIRS[0]], prompt_name=name)[0]), 8)]
    ranker.max_seq_length = 90
    long = ["hello", "the quick brown fox. " * 9]
    expected["cut"] = {"text": long, "tokens": 90, "numbers": [round(float(ranker.predict([long])[0]), 8)]}
    assert min(abs(case["numbers"][0]) for case in expected["pairs"] + [expected["cut"]]) > 0.2, "a score that errors are large of"
    if spec["no"]:
        check_probability(folder, spec, expected["pairs"])
        expected["twin"] = llama_cpp_scores(folder, pairs)
    write_json(f"{folder}/off.json", spec["off"])
    write_json(f"{folder}/expected.json", expected, indent=None)


# The template that llama.cpp's converter gives Qwen3-Reranker, whatever that of the folder.
LLAMA_CPP_TEMPLATE = (
    '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that '
    'the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant '
    'passages that answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n'
    '</think>\n\n')


def llama_cpp_scores(folder, pairs):
    """P(yes) behind that template, by transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.convert_tokens_to_ids(["yes", "no"])
    scores = []
    for query, document in pairs:
        text = LLAMA_CPP_TEMPLATE.format(query=query, document=document)
        with torch.no_grad():
            logits = model(**tokenizer([text], return_tensors="pt")).logits[0, -1]
        scores.append([round(float(logits[ids].softmax(-1)[0]), 8)])
    return scores


def check_probability(folder, spec, cases):
    """The score is P(yes) of the two tokens, as the model card of Qwen3-Reranker computes it, by transformers alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for case in cases:
        messages = [{"role": role, "content": text} for role, text in
                    zip(("system", "query", "document"), [spec["prompts"]["prompts"]["query"]] + case["text"])]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=spec["asks"])
        with torch.no_grad():
            logits = model(**tokenizer([text], return_tensors="pt")).logits[0, -1]
        both = logits[[tokenizer.convert_tokens_to_ids(spec["no"]), tokenizer.convert_tokens_to_ids("yes")]]
        assert abs(float(both.softmax(-1)[1]) - case["numbers"][0]) < 1e-6, case


SUBJECTS = ["A man", "A small dog", "The committee", "My grandmother", "The new engine"]
PREDICATES = ["is eating a piece of bread.", "runs through the wet grass.", "has rejected the proposal.",
              "plays the violin every evening.", "needs less fuel than the old one.", "was seen near the harbour yesterday.",
              "will never agree to that!", "sleeps on the sofa,\nas always.", "costs 1,299.50 € (tax included).",
              "erklärt die Funktion naïve façade 東京."]
SIMILAR = [("A man is eating food.", "A man is eating a piece of bread.", 4.0),
           ("A man is eating food.", "A woman is playing the violin.", 0.4),
           ("A plane is taking off.", "An air plane is taking off.", 5.0),
           ("The girl is carrying a baby.", "A child is carried by a girl.", 4.2),
           ("Someone rides a horse in the desert.", "A man is riding a camel through sand.", 2.8),
           ("Interest rates rose again this month.", "The central bank has raised its rates.", 3.8),
           ("Interest rates rose again this month.", "The cat sleeps on the sofa.", 0.0),
           ("How do I reset my password?", "I forgot my password, what can I do?", 4.1),
           ("How do I reset my password?", "How do I change the colour of my profile?", 1.8),
           ("The server answers slowly.", "Responses of the server take long.", 4.4),
           ("The server answers slowly.", "The waiter brings the soup.", 0.6),
           ("Two dogs play in the snow.", "Dogs are playing in the snow.", 4.7),
           ("Two dogs play in the snow.", "Two children play in the garden.", 2.0),
           ("He bought a new car.", "He purchased a vehicle.", 4.3),
           ("He bought a new car.", "She sold her old bicycle.", 1.6),
           ("Water boils at 100 degrees.", "At one hundred degrees water starts to boil.", 4.6),
           ("Water boils at 100 degrees.", "The marathon starts at ten.", 0.2),
           ("The film was wonderful.", "I liked the movie a lot.", 3.9),
           ("The film was wonderful.", "The movie was terrible.", 2.2),
           ("Paris is the capital of France.", "Berlin is the capital of Germany.", 2.4)]


def write_minilm(out, folder):
    from sentence_transformers import SentenceTransformer
    model = SentenceTransformer(folder, device="cpu")
    sentences = [f"{s} {p}" for s in SUBJECTS for p in PREDICATES]
    sentences[-1] = "A text that is longer than the model takes, " + "word after word " * 150  # 256 tokens are kept
    vectors = model.encode(sentences, convert_to_numpy=True).astype(np.float32)
    pairs = [model.encode([a, b]) for a, b, _ in SIMILAR]
    write_json(f"{out}/minilm.json", {
        "sentences": sentences, "vectors": [base64.b64encode(v.tobytes()).decode() for v in vectors],
        "similar": [[a, b, score, round(float(v[0] @ v[1]), 6)] for (a, b, score), v in zip(SIMILAR, pairs)]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minilm")
    parser.add_argument("--only", nargs="*", help="of the checkpoints, these alone")
    options = parser.parse_args()
    if options.minilm:
        write_minilm(options.out, options.minilm)
        return
    for name, spec in CHECKPOINTS.items():
        if not options.only or name in options.only:
            write_checkpoint(os.path.join(options.out, name), spec)
    for name, spec in RANKERS.items():
        if not options.only or name in options.only:
            write_ranker(os.path.join(options.out, name), spec)


if __name__ == "__main__":
    main()
