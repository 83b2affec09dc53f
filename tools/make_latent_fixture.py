#!/usr/bin/env python3
"""Makes tests/fixtures/build/latent.safetensors and latent.txt: what GPTQ, AWQ and SmoothQuant make of the attention of the
first layer of tests/fixtures/model/deepseek_v2, by transformers' inputs of its matrices and numpy (double), for the text.

GPTQ's matrices are put into the model one after the other, so that each is judged by what those before it leave. kv_b is
two matrices a head: "k_b", which the still part of a query is multiplied with, transposed, and "v_b", which the mixture of
latents is. AWQ and SmoothQuant have factors before q_a and kv_a ("hidden") and before q_b ("latent"); what has none is
rounded to nearest, by AWQ judged by its inputs. Texts are drawn until all choices are clear.

Needs: pip install numpy torch transformers tokenizers. Usage: tools/make_latent_fixture.py tests/fixtures
"""
import os
import sys

import numpy as np

import make_calibration_fixture as methods
import make_model_fixtures as base
from make_mixture_fixture import best, gptq, peaks, to_nearest

MODEL, BYTES = "deepseek_v2", 350


class Layer:
    """The first layer's attention, its matrices and what they read."""

    def __init__(self, folder, text):
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM
        torch.set_grad_enabled(False)
        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        ids = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")).encode(text, add_special_tokens=False).ids
        self.ids = torch.tensor([ids])
        self.attention, config = self.model.model.layers[0].self_attn, self.model.config
        self.heads, self.still, self.rank = config.num_attention_heads, config.qk_nope_head_dim, config.kv_lora_rank
        self.turned = config.qk_rope_head_dim
        self.module = {"q_a": self.attention.q_a_proj, "kv_a": self.attention.kv_a_proj_with_mqa,
                       "q_b": self.attention.q_b_proj, "kv_b": self.attention.kv_b_proj, "o": self.attention.o_proj}

    def matrix(self, name):
        if name not in ("k_b", "v_b"):
            return self.module[name].weight.numpy().astype(np.float64)
        each = self.matrix("kv_b").reshape(self.heads, -1, self.rank)
        return each[:, :self.still].transpose(0, 2, 1) if name == "k_b" else each[:, self.still:]

    def put(self, name, matrix):
        if name in ("k_b", "v_b"):
            each = self.matrix("kv_b").reshape(self.heads, -1, self.rank).copy()
            if name == "k_b":
                each[:, :self.still] = matrix.transpose(0, 2, 1)
            else:
                each[:, self.still:] = matrix
            name, matrix = "kv_b", each.reshape(-1, self.rank)
        self.module[name].weight.copy_(self.torch.tensor(matrix, dtype=self.torch.float32))

    def inputs(self):
        """Of each matrix, as it is now; of heads' each head's."""
        seen, hooks = {}, []
        for name, module in self.module.items():
            keep = lambda _, args, out, name=name: seen.update({name: args[0][0].numpy().astype(np.float64),
                                                                name + ".out": out[0].numpy().astype(np.float64)})
            hooks.append(module.register_forward_hook(keep))
        watch = lambda _, args, out: seen.update(shares=out[1][0].numpy().astype(np.float64))
        hooks.append(self.attention.register_forward_hook(watch))
        self.model(self.ids, use_cache=False)
        for hook in hooks:
            hook.remove()
        q = seen["q_b.out"].reshape(-1, self.heads, self.still + self.turned)
        seen["k_b"] = q[:, :, :self.still].transpose(1, 0, 2)
        seen["v_b"] = seen["shares"] @ seen["kv_b"]
        return seen


def each_head(name, matrix, x, how):
    return np.stack([how(w, rows) for w, rows in zip(matrix, x)]) if name in ("k_b", "v_b") else how(matrix, x)


def rounded(layer, scheme):
    out = {}
    for names in (("q_a", "kv_a"), ("q_b",), ("k_b",), ("v_b",), ("o",)):
        x = layer.inputs()
        for name in names:
            out[name] = each_head(name, layer.matrix(name), x[name], lambda w, rows: gptq(w, rows, scheme))
            layer.put(name, out[name])
    return out


def scaled(layer, rule, scheme):
    out, x = {}, layer.inputs()
    metric = (lambda rows: rows) if rule is methods.awq_scale else lambda rows: None
    for place, names in (("hidden", ("q_a", "kv_a")), ("latent", ("q_b",))):
        rows, matrices = x[names[0]], [layer.matrix(name) for name in names]
        s, clear = best([(w, rows, 1) for w in matrices], scheme, rule, np.abs(rows).mean(0), peaks(rows),
                        peaks(np.concatenate(matrices)), powers=False)
        if not clear:
            raise methods.Tie
        out[place] = s
        for name, w in zip(names, matrices):
            out[name] = to_nearest(w * s, scheme, metric(rows / s))
    for name in ("k_b", "v_b", "o"):
        out[name] = each_head(name, layer.matrix(name), x[name], lambda w, rows: to_nearest(w, scheme, metric(rows)))
    return out


def draw(fixtures):
    folder = os.path.join(fixtures, "model", MODEL)
    for seed in range(200):
        letters = np.random.default_rng(seed).choice(list("aaabcdeeeeefghijklmnoprstuvw      .,\n"), BYTES)
        text = "".join(letters)
        try:
            int4, w8a8 = methods.Scheme(4, 32), methods.Scheme(8, 0)
            found = {"awq": scaled(Layer(folder, text), methods.awq_scale, int4),
                     "smooth": scaled(Layer(folder, text), methods.smooth_scale, w8a8)}
        except methods.Tie:
            print("seed", seed, "has a tie", flush=True)
            continue
        if any((found[name][place] == 1).all() for name in found for place in ("hidden", "latent")):
            continue
        found["gptq"] = rounded(Layer(folder, text), int4)
        print("seed", seed, {f"{name}.{place}": (found[name][place].min(), found[name][place].max())
                             for name in ("awq", "smooth") for place in ("hidden", "latent")})
        return text, found
    raise SystemExit("Every draw had a tie.")


def main(fixtures):
    text, found = draw(fixtures)
    with open(os.path.join(fixtures, "build", "latent.txt"), "w") as file:
        file.write(text)
    base.write_safetensors(os.path.join(fixtures, "build", "latent.safetensors"),
                           [(f"{method}.{name}", data.astype(np.float32)) for method, tensors in found.items()
                            for name, data in tensors.items()], "F32")


if __name__ == "__main__":
    main(sys.argv[1])
