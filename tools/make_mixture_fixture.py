#!/usr/bin/env python3
"""Makes tests/fixtures/build/mixture.safetensors and mixture.txt: what GPTQ, AWQ and SmoothQuant make of the experts of the
first layer of tests/fixtures/model/qwen3_moe, by transformers' inputs of that layer and numpy (double), for the text.

Each expert is judged by the tokens that choose it; where they are fewer than LEAST, up to OTHERS of all tokens at equal
distances join them. Factors on what all experts read are powers of two and the same for all; those before the last matrix
are each expert's own. Texts are drawn until the choice of the shared factors is clear; "clear" tells of which experts the choice of their own is.

"loud." is what AWQ makes of the same text where two of the inputs' channels, "loud.channels", are LOUD times as large, by
the norm before the layer: there the shared factors are worth something. "few": the experts of all layers that fewer than LEAST tokens choose.

Needs: pip install numpy torch transformers tokenizers. Usage: tools/make_mixture_fixture.py tests/fixtures
"""
import os
import sys

import numpy as np

import make_calibration_fixture as methods
import make_model_fixtures as base
import numpy_forward

LEAST, OTHERS, SAMPLE, BYTES, LOUD = 128, 512, 128, 350, 16
MODEL = "qwen3_moe"


class Layer:
    """What reaches the experts, whom each token chooses, and their matrices."""

    def __init__(self, folder, text, loud=()):
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM
        torch.set_grad_enabled(False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")).encode(text, add_special_tokens=False).ids
        model.model.layers[0].post_attention_layernorm.weight[list(loud)] *= LOUD
        self.k = model.config.num_experts_per_tok
        layers = [self.watch(layer.mlp) for layer in model.model.layers]
        model(torch.tensor([ids]), use_cache=False)  # one window: a text of fewer than 512 tokens
        self.x, self.chosen = layers[0]["x"], layers[0]["chosen"]
        _, tensors = numpy_forward.read_directory(folder)
        at = lambda name: tensors[f"model.layers.0.mlp.{name}.weight"].astype(np.float64)
        self.n = model.config.num_experts
        counts = np.array([np.bincount(layer["chosen"].ravel(), minlength=self.n) for layer in layers])
        if (np.abs(counts - LEAST) < 2).any():
            raise methods.Tie
        self.few = (counts < LEAST).sum()
        self.gate_up = [np.concatenate([at(f"experts.{e}.gate_proj"), at(f"experts.{e}.up_proj")]) for e in range(self.n)]
        self.down = [at(f"experts.{e}.down_proj") for e in range(self.n)]

    def watch(self, mlp):
        """Filled once the model runs: what goes into a layer's experts, and whom the tokens choose."""
        seen = {}

        def keep(_, args):
            seen["x"] = args[0].reshape(-1, args[0].shape[-1]).numpy().astype(np.float64)
            logits = seen["x"] @ mlp.gate.weight.numpy().astype(np.float64).T
            seen["chosen"] = np.argsort(-logits, axis=1, kind="stable")[:, :self.k]

        mlp.register_forward_pre_hook(keep)
        return seen

    def rows(self, expert, others=True):
        own = np.flatnonzero((self.chosen == expert).any(1))
        if not others or len(own) >= LEAST:
            return self.x[own]
        n = min(OTHERS, len(self.x))
        return np.concatenate([self.x[own], self.x[np.arange(n) * len(self.x) // n]])


def silu(z):
    return z / (1 + np.exp(-z))


def between(gate_up, x):
    gate, up = np.split(x @ gate_up.T, 2, axis=1)
    return silu(gate) * up


def sample(x):
    return x[::-(-len(x) // SAMPLE)]


def to_nearest(w, scheme, x=None):
    """By the metric of inputs x, or of squares."""
    out = np.empty(w.shape)
    for part in scheme.parts(w.shape[1]):
        metric = x[:, part].T @ x[:, part] if x is not None and scheme.group else None
        for r in range(len(w)):
            scale, low = methods.fit(w[r, part].astype(np.float32), scheme, metric)
            out[r, part] = np.float64(scale) * methods.round_to(w[r, part], scale, low, scheme.bits) + low
    return out


def gptq(w, x, scheme):
    sums = x.T @ x
    order = np.argsort(-np.diag(sums), kind="stable")
    damped = sums + 0.01 * np.diag(sums).mean() * np.eye(len(sums))
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    out, left = np.empty(w.shape), w[:, order].copy()
    parts = scheme.parts(w.shape[1])
    found = [[methods.fit(row[part].astype(np.float32), scheme, sums[part, part]) for part in parts] for row in w]
    for i, col in enumerate(order):
        for r in range(len(w)):
            scale, low = map(np.float64, found[r][col // scheme.group])
            out[r, col] = scale * methods.round_to(left[r, i], scale, low, scheme.bits) + low
            left[r, i:] -= (left[r, i] - out[r, col]) / upper[i, i] * upper[i, i:]
    return out


def losses(matrices, scheme, scales):
    """Of each scale: matrices is a list of (matrix, rows of its inputs, how much they count)."""
    found = []
    for s in scales:
        errors = [count * ((scheme.inputs(x / s) @ methods.rounded(w * s, scheme).T - x @ w.T) ** 2).sum()
                  for w, x, count in matrices]
        found.append(sum(errors))
    return found


def best(matrices, scheme, rule, mean, peak, weight_peak, powers):
    """The scale of least loss, and whether others are clearly worse."""
    scales = [rule(mean, peak, weight_peak, i / (methods.STRENGTHS - 1)) for i in range(methods.STRENGTHS)]
    if powers:
        exact = [np.log2(s) for s in scales]
        if any(np.any(np.abs(e - np.floor(e) - 0.5) < 1e-5) for e in exact):
            raise methods.Tie
        scales = [2.0 ** np.rint(e) for e in exact]
    found = losses(matrices, scheme, scales)
    at = int(np.argmin(found))
    even = any(f < 1.0005 * found[at] and not np.array_equal(s, scales[at]) for f, s in zip(found, scales))
    return scales[at], not even


def peaks(w):
    return np.abs(w).max(0)


def scaled(layer, rule, scheme):
    seen = [layer.rows(e, others=False) for e in range(layer.n)]
    shared, clear = best([(layer.gate_up[e], sample(x), len(x) / len(sample(x))) for e, x in enumerate(seen) if len(x)], scheme,
                  rule, np.abs(layer.x).mean(0), peaks(layer.x), peaks(np.concatenate(layer.gate_up)), powers=True)
    if not clear:
        raise methods.Tie
    out = []
    for e in range(layer.n):
        x, w, down = layer.rows(e), layer.gate_up[e], layer.down[e]
        h = between(w, x)
        own, clear = best([(down, sample(h), 1)], scheme, rule, np.abs(h).mean(0), peaks(h), peaks(down), powers=False)
        w = w * shared
        w[len(w) // 2:] /= own[:, None]
        metric = (lambda rows: rows) if rule is methods.awq_scale else lambda rows: None
        out.append((to_nearest(w, scheme, metric(x / shared)), to_nearest(down * own, scheme, metric(h / own)), clear))
    return shared, out


def rounded(layer, scheme):
    out = []
    for e in range(layer.n):
        x = layer.rows(e)
        w = gptq(layer.gate_up[e], x, scheme)
        out.append((w, gptq(layer.down[e], between(w, x), scheme), True))
    return out


def add_experts(tensors, name, experts):
    tensors[f"{name}.gate_up"] = np.stack([w for w, _, _ in experts])
    tensors[f"{name}.down"] = np.stack([w for _, w, _ in experts])
    tensors[f"{name}.clear"] = np.array([clear for _, _, clear in experts], np.float32)


def add_loud(tensors, folder, text, scheme):
    for seed in range(200):
        channels = np.random.default_rng(seed).choice(32, 2, replace=False)
        try:
            layer = Layer(folder, text, channels)
            shared, experts = scaled(layer, methods.awq_scale, scheme)
        except methods.Tie:
            continue
        if (shared == 1).all() or sum(clear for _, _, clear in experts) < 3:
            continue
        print("loud", channels, "factors", sorted(set(shared)), "clear", [clear for _, _, clear in experts])
        tensors["loud.channels"], tensors["loud.shared"] = channels, shared
        return add_experts(tensors, "loud", experts)
    raise SystemExit("No two channels have factors of their own.")


def draw(fixtures):
    for seed in range(200):
        letters = np.random.default_rng(seed).choice(list("aaabcdeeeeefghijklmnoprstuvw      .,\n"), BYTES)
        text = "".join(letters)
        folder = os.path.join(fixtures, "model", MODEL)
        try:
            layer = Layer(folder, text)
        except methods.Tie:
            continue
        counts = [len(layer.rows(e, others=False)) for e in range(layer.n)]
        if not any(c < LEAST for c in counts) or not any(c >= LEAST for c in counts):
            continue
        try:
            int4, w8a8 = methods.Scheme(4, 32), methods.Scheme(8, 0)
            tensors = {"counts": np.array(counts, np.float32), "few": np.array([layer.few], np.float32)}
            shared, awq = scaled(layer, methods.awq_scale, int4)
            tensors["awq.shared"] = shared
            smooth_shared, smooth = scaled(layer, methods.smooth_scale, w8a8)
            tensors["smooth.shared"] = smooth_shared
        except methods.Tie:
            print("seed", seed, "has a tie", flush=True)
            continue
        for name, experts in (("awq", awq), ("smooth", smooth), ("gptq", rounded(layer, int4))):
            add_experts(tensors, name, experts)
        add_loud(tensors, folder, text, int4)
        print({name: data for name, data in tensors.items() if name.endswith("clear")})
        print("seed", seed, "tokens of experts", counts, "factors", sorted(set(shared)), sorted(set(smooth_shared)))
        return text, tensors
    raise SystemExit("Every draw had a tie.")


def main(fixtures):
    text, tensors = draw(fixtures)
    with open(os.path.join(fixtures, "build", "mixture.txt"), "w") as file:
        file.write(text)
    base.write_safetensors(os.path.join(fixtures, "build", "mixture.safetensors"),
                           [(name, data.astype(np.float32)) for name, data in tensors.items()], "F32")


if __name__ == "__main__":
    main(sys.argv[1])
