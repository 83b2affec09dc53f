"""A gpt-oss checkpoint that says what it is told to, in the hub's form: tensors and their types, MXFP4 experts (of zeros),
config, special tokens. Weights alone do it, so that a server has no other way to the text than by running the network.

Each piece of the answer is a token, and a token's successor is what the head answers to it. Where an answer has two parts
with the same marks, an attention head looks for the last word of the first: what it finds turns the head's mind."""
import json
import struct

HIDDEN, DIM, LOUD = 64, 16, 8.0
FOUND = HIDDEN - 1  # the dimension of the residual stream that says that the first part has been said
SPECIAL = ["<unk>", "<|startoftext|>", "<|return|>", "<|call|>", "<|start|>", "<|end|>", "<|channel|>", "<|message|>",
           "<|constrain|>"]
CONFIG = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "attention_bias": True, "attention_dropout": 0.0,
    "eos_token_id": 2, "experts_per_token": 1, "head_dim": DIM, "hidden_act": "silu", "hidden_size": HIDDEN,
    "initial_context_length": 4096, "intermediate_size": 32, "layer_types": ["full_attention"],
    "max_position_embeddings": 131072, "num_attention_heads": 2, "num_experts_per_tok": 1, "num_hidden_layers": 1,
    "num_key_value_heads": 1, "num_local_experts": 2, "pad_token_id": 0, "rms_norm_eps": 1e-5, "rope_theta": 150000,
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
    "rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096,
                     "rope_type": "yarn", "truncate": False},
    "sliding_window": 128, "swiglu_limit": 7.0, "tie_word_embeddings": False}


def byte_letters():
    """GPT-2's printable stand-in for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(extra)) for b in range(256)]


class Matrix:
    """Zeros but for what is set."""

    def __init__(self, *shape):
        self.shape, self.set = shape, {}

    def bytes(self):
        data = bytearray(4 * self.size())
        for (row, col), value in self.set.items():
            struct.pack_into("<f", data, 4 * (row * self.shape[-1] + col), value)
        return bytes(data)

    def size(self):
        return self.shape[0] * (self.shape[1] if len(self.shape) > 1 else 1)


def vector(values):
    return (len(values),), "F32", struct.pack(f"<{len(values)}f", *values)


def vocabulary(first, second):
    """Tokens: special ones, bytes, and the pieces that are neither."""
    letters = byte_letters()
    words = ["assistant"] + [piece for piece in first + second if piece not in SPECIAL]
    assert len(set(words)) == len(words), words
    return SPECIAL + letters + ["".join(letters[b] for b in word.encode()) for word in words], \
        SPECIAL + [bytes([b]) for b in range(256)] + words


def successors(first, second):
    """(token, the next one, whether only before or after the first part, None for both)."""
    around = [*first, "<|start|>", "assistant", *second]
    yield b"t", first[0], None  # the prompt ends in "assistant", of bytes
    seen = {}
    for at, (token, following) in enumerate(zip(around, around[1:])):
        seen.setdefault(token, []).append((following, at >= len(first)))
    for token, all_following in seen.items():
        for following, after in all_following:
            yield token, following, after if len({f for f, _ in all_following}) > 1 else None


def network(first, second, names):
    """The tensors by name: (shape, type, bytes)."""
    place = {}  # the dimension of the stream that a token of the answer has to itself
    for token in [b"t", *first, "<|start|>", "assistant", *second]:
        place.setdefault(token, len(place))
    other = len(place)
    assert other < FOUND
    embed, head = Matrix(len(names), HIDDEN), Matrix(len(names), HIDDEN)
    for i, name in enumerate(names):
        embed.set[i, place.get(name, other)] = LOUD
    for token, following, after in successors(first, second):
        row = names.index(following)
        head.set[row, place[token]] = 4.5 if after is False else 4.0
        if after is not None:
            head.set[row, FOUND] = 2.0 if after else -2.0
    word = next(piece for piece in reversed(first) if piece not in SPECIAL)
    slow = DIM // 2 - 1  # turns least
    k, v, out = Matrix(DIM, HIDDEN), Matrix(DIM, HIDDEN), Matrix(HIDDEN, 2 * DIM)
    k.set[slow, place[word]] = v.set[0, place[word]] = out.set[FOUND, 0] = 1.0
    layer, experts = "model.layers.0.", "model.layers.0.mlp.experts."
    matrices = {"model.embed_tokens.weight": embed, "lm_head.weight": head,
                layer + "self_attn.q_proj.weight": Matrix(2 * DIM, HIDDEN), layer + "self_attn.k_proj.weight": k,
                layer + "self_attn.v_proj.weight": v, layer + "self_attn.o_proj.weight": out,
                layer + "mlp.router.weight": Matrix(2, HIDDEN), experts + "gate_up_proj_bias": Matrix(2, 64),
                experts + "down_proj_bias": Matrix(2, HIDDEN)}
    tensors = {name: (matrix.shape, "F32", matrix.bytes()) for name, matrix in matrices.items()}
    tensors |= {layer + "self_attn.q_proj.bias": vector([8.0 if i == slow else 0.0 for i in range(2 * DIM)]),
                layer + "self_attn.k_proj.bias": vector([0.0] * DIM), layer + "self_attn.v_proj.bias": vector([0.0] * DIM),
                layer + "self_attn.o_proj.bias": vector([0.0] * HIDDEN), layer + "self_attn.sinks": vector([0.0] * 2),
                layer + "mlp.router.bias": vector([1.0, 0.0])}
    tensors |= {name: vector([1.0] * HIDDEN) for name in (layer + "input_layernorm.weight", "model.norm.weight",
                                                          layer + "post_attention_layernorm.weight")}
    for name, rows, cols in (("gate_up_proj", 64, HIDDEN), ("down_proj", HIDDEN, 32)):
        blocks = 2 * rows * cols // 32
        tensors[f"{experts}{name}_blocks"] = (2, rows, cols // 32, 16), "U8", bytes(16 * blocks)
        tensors[f"{experts}{name}_scales"] = (2, rows, cols // 32), "U8", bytes([127]) * blocks
    return tensors


def tokenizer(texts):
    added = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, text in enumerate(SPECIAL)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {text: i for i, text in enumerate(texts)}, "merges": []}}


def save(folder, first, second, template):
    """A checkpoint that answers with the pieces of `first`, then, as another message, with those of `second`."""
    texts, names = vocabulary(first, second)
    tensors, header, blob = network(first, second, names), {}, b""
    for name, (shape, kind, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + blob)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "vocab_size": len(texts)}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3], "do_sample": True}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(texts)))
    (folder / "chat_template.jinja").write_text(template)
