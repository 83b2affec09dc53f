#!/usr/bin/env python3
"""Makes tests/fixtures/build/calibration.json: small random layers, and what AWQ, GPTQ and SmoothQuant make of them, by
implementations of their own in numpy (double), written from the papers: arXiv 2306.00978, 2210.17323, 2211.10438.

Random layers are drawn until no number lies so near a tie that the order of float sums could decide it.

Needs: pip install numpy. Usage: tools/make_calibration_fixture.py tests/fixtures/build
"""

import json
import sys
from pathlib import Path

import numpy as np

GROUP = 32
RATIOS = np.array([1.0, 0.97, 0.94, 0.91, 0.88, 0.84, 0.80, 0.75], np.float32)
STRENGTHS = 21


class Tie(Exception):
    pass


def half(x):
    return np.float32(np.float16(x))


def candidates(x, bits):
    """(scale, minimum) of a group for each ratio of its range; with 8 bits around zero."""
    low, high = np.float32(x.min()), np.float32(x.max())
    for ratio in RATIOS:
        if bits < 8:
            reach = (high - low) / np.float32(2) * ratio
            yield half(np.float32(2) * reach / np.float32(2**bits - 1)), half((low + high) / np.float32(2) - reach)
        else:
            scale = half(max(-low, high) * ratio / np.float32(127))
            yield scale, -scale * np.float32(128)


def round_to(x, scale, low, bits, ties=False):
    exact = np.clip((np.float64(x) - low) / scale if scale > 0 else 0 * np.float64(x), 0, 2**bits - 1)
    if ties and np.any(np.abs(exact - np.floor(exact) - 0.5) < 5e-4):
        raise Tie
    return np.rint(exact)


def fit(x, bits, metric=None, ties=False):
    """The candidate of least error: of squares, or of products with inputs whose sums of products are the metric."""
    losses, found = [], list(candidates(x, bits))
    for scale, low in found:
        d = np.float64(scale) * round_to(x, scale, low, bits) + low - np.float64(x)
        losses.append(d @ d if metric is None else d @ metric @ d)
    best = int(np.argmin(losses))
    if ties and any(abs(loss / losses[best] - 1) < 1e-5 and found[i] != found[best] for i, loss in enumerate(losses)):
        raise Tie
    return found[best]


def rounded(w, bits):
    """Every group to nearest, with the clip of least squares."""
    out = np.empty(w.shape)
    for r in range(w.shape[0]):
        for first in range(0, w.shape[1], GROUP):
            x = w[r, first : first + GROUP].astype(np.float32)
            scale, low = fit(x, bits)
            out[r, first : first + GROUP] = np.float64(scale) * round_to(x, scale, low, bits) + low
    return out


def inputs(rng, tokens, cols):
    """Correlated, a few channels large."""
    x = rng.normal(size=(tokens, cols)) @ (np.eye(cols) + 0.3 * rng.normal(size=(cols, cols)))
    x *= np.exp(rng.normal(size=cols))
    return x.astype(np.float32).round(3)


def gptq(rng):
    rows, cols, bits = 8, 80, 4
    w = rng.normal(size=(rows, cols)).astype(np.float32).round(3)
    x = inputs(rng, 128, cols)
    sums = (x.T.astype(np.float64) @ x).astype(np.float32)
    order = np.argsort(-np.diag(sums), kind="stable")
    damped = sums.astype(np.float64) + 0.01 * np.diag(sums.astype(np.float64)).mean() * np.eye(cols)
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    groups = (cols + GROUP - 1) // GROUP
    scale, low = np.empty((rows, groups)), np.empty((rows, groups))
    for r in range(rows):
        for g in range(groups):
            part = slice(g * GROUP, min((g + 1) * GROUP, cols))
            scale[r, g], low[r, g] = fit(w[r, part], bits, sums[part, part].astype(np.float64), ties=True)
    left, code = w[:, order].astype(np.float64), np.empty((rows, cols), int)
    for i, col in enumerate(order):
        for r in range(rows):
            s, m = scale[r, col // GROUP], low[r, col // GROUP]
            code[r, col] = round_to(left[r, i], s, m, bits, ties=True)
            left[r, i:] -= (left[r, i] - (s * code[r, col] + m)) / upper[i, i] * upper[i, i:]
    return {"rows": rows, "cols": cols, "weights": w, "inputs": x, "code": code, "scale": scale, "min": low}


def inputs_rounded(x):
    """As linears of these schemes round them: int8, one scale for 32 columns."""
    out = np.empty(x.shape)
    for first in range(0, x.shape[1], GROUP):
        part = x[:, first : first + GROUP]
        scale = np.abs(part).max(1, keepdims=True) / 127
        out[:, first : first + GROUP] = np.rint(part / scale) * scale
    return out


def awq_scale(mean, peak, weight_peak, strength):
    s = np.maximum(mean**strength, 1e-4)
    return s / np.sqrt(s.min() * s.max())


def smooth_scale(mean, peak, weight_peak, strength):
    return np.ones_like(peak) if strength == 0 else peak**strength / weight_peak ** (1 - strength)


def scaled(rng, rule, bits, shared, dim):
    cols, rows = 64, (8, 16)
    channel = np.arange(cols) if shared == 1 else np.arange(cols) // (shared * dim) * dim + np.arange(cols) % dim
    n_channel = channel.max() + 1
    w = [rng.normal(size=(n, cols)).astype(np.float32).round(3) for n in rows]
    x = inputs(rng, 48, cols)
    over = lambda values, how: np.array([how(values[channel == c]) for c in range(n_channel)])
    mean, peak = over(np.abs(x.astype(np.float64)).mean(0), np.mean), over(np.abs(x).max(0), np.max)
    weight_peak = over(np.abs(np.concatenate(w)).max(0), np.max)
    losses = []
    for i in range(STRENGTHS):
        s = rule(mean, peak, weight_peak, i / (STRENGTHS - 1))[channel]
        losses.append(sum(((inputs_rounded(x / s) @ rounded(m * s, bits).T - x.astype(np.float64) @ m.T) ** 2).sum() for m in w))
    best = int(np.argmin(losses))
    if sorted(losses)[1] < 1.002 * losses[best] or best in (0, STRENGTHS - 1):
        raise Tie
    scale = rule(mean, peak, weight_peak, best / (STRENGTHS - 1))
    return {"cols": cols, "shared": shared, "dim": dim, "bits": bits, "matrices": w, "inputs": x, "scale": scale,
            "losses": [losses[best], losses[0]]}


def draw(make, *args):
    for seed in range(1000):
        try:
            return make(np.random.default_rng(seed), *args)
        except Tie:
            pass
    raise SystemExit("Every draw had a tie.")


def plain(value):
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.reshape(-1)]
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (int, np.integer)):
        return int(value)
    return float(str(value)) if isinstance(value, np.float32) else float(f"{float(value):.9g}")


def main(folder):
    cases = {"gptq": draw(gptq), "awq": draw(scaled, awq_scale, 4, 1, 1), "awq_shared": draw(scaled, awq_scale, 4, 2, 8),
             "smooth": draw(scaled, smooth_scale, 8, 1, 1)}
    (folder / "calibration.json").write_text(json.dumps(plain(cases), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
