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

RATIOS = np.array([1.0, 0.97, 0.94, 0.91, 0.88, 0.84, 0.80, 0.75], np.float32)
STRENGTHS = 21


class Tie(Exception):
    pass


class Scheme:
    """4 bits above a minimum or 8 around zero; groups with half-precision scales, or one float scale a row (group 0), whose
    inputs have one scale a row too."""

    def __init__(self, bits, group):
        self.bits, self.group = bits, group

    def parts(self, cols):
        step = self.group or cols
        return [slice(first, min(first + step, cols)) for first in range(0, cols, step)]

    def stored(self, x):
        return np.float32(np.float16(x)) if self.group else np.float32(x)

    def inputs(self, x):
        """As linears round them: int8, the greatest of a part is 127."""
        out = np.empty(x.shape)
        for part in self.parts(x.shape[1]):
            scale = np.abs(x[:, part]).max(1, keepdims=True) / 127
            out[:, part] = np.rint(x[:, part] / scale) * scale
        return out


def candidates(x, scheme):
    """(scale, minimum) of a group for each ratio of its range."""
    low, high = np.float32(x.min()), np.float32(x.max())
    for ratio in RATIOS:
        if scheme.bits < 8:
            reach = (high - low) / np.float32(2) * ratio
            yield (scheme.stored(np.float32(2) * reach / np.float32(2**scheme.bits - 1)),
                   scheme.stored((low + high) / np.float32(2) - reach))
        else:
            scale = scheme.stored(max(-low, high) * ratio / np.float32(127))
            yield scale, -scale * np.float32(128)


def round_to(x, scale, low, bits, ties=False):
    exact = np.clip((np.float64(x) - low) / scale if scale > 0 else 0 * np.float64(x), 0, 2**bits - 1)
    if ties and np.any(np.abs(exact - np.floor(exact) - 0.5) < 5e-4):
        raise Tie
    return np.rint(exact)


def fit(x, scheme, metric=None, ties=False):
    """The candidate of least error: of squares, or of products with inputs whose sums of products are the metric."""
    losses, found = [], list(candidates(x, scheme))
    for scale, low in found:
        d = np.float64(scale) * round_to(x, scale, low, scheme.bits) + low - np.float64(x)
        losses.append(d @ d if metric is None else d @ metric @ d)
    best = int(np.argmin(losses))
    if ties and any(abs(loss / losses[best] - 1) < 1e-5 and found[i] != found[best] for i, loss in enumerate(losses)):
        raise Tie
    return found[best]


def rounded(w, scheme):
    """Every group to nearest, with the clip of least squares."""
    out = np.empty(w.shape)
    for r in range(w.shape[0]):
        for part in scheme.parts(w.shape[1]):
            x = w[r, part].astype(np.float32)
            scale, low = fit(x, scheme)
            out[r, part] = np.float64(scale) * round_to(x, scale, low, scheme.bits) + low
    return out


def inputs(rng, tokens, cols):
    """Correlated, a few channels large."""
    x = rng.normal(size=(tokens, cols)) @ (np.eye(cols) + 0.3 * rng.normal(size=(cols, cols)))
    x *= np.exp(rng.normal(size=cols))
    return x.astype(np.float32).round(3)


def gptq(rng, scheme):
    rows, cols = 8, 80
    w = rng.normal(size=(rows, cols)).astype(np.float32).round(3)
    x = inputs(rng, 128, cols)
    sums = (x.T.astype(np.float64) @ x).astype(np.float32).astype(np.float64)
    order = np.argsort(-np.diag(sums), kind="stable")
    damped = sums + 0.01 * np.diag(sums).mean() * np.eye(cols)
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    parts = scheme.parts(cols)
    metric = [sums[part, part] if scheme.group else None for part in parts]
    found = [[fit(w[r, part], scheme, m, ties=True) for part, m in zip(parts, metric)] for r in range(rows)]
    left, code = w[:, order].astype(np.float64), np.empty((rows, cols), int)
    for i, col in enumerate(order):
        for r in range(rows):
            scale, low = map(np.float64, found[r][col // scheme.group if scheme.group else 0])
            code[r, col] = round_to(left[r, i], scale, low, scheme.bits, ties=True)
            left[r, i:] -= (left[r, i] - (scale * code[r, col] + low)) / upper[i, i] * upper[i, i:]
    return {"rows": rows, "cols": cols, "bits": scheme.bits, "group": scheme.group, "weights": w, "inputs": x, "code": code,
            "scale": [s for row in found for s, _ in row], "min": [m for row in found for _, m in row]}


def awq_scale(mean, peak, weight_peak, strength):
    s = np.maximum(mean, 1e-4 * mean.max()) ** strength
    return s / np.sqrt(s.min() * s.max())


def smooth_scale(mean, peak, weight_peak, strength):
    x, w = (np.maximum(values, 1e-4 * values.max()) for values in (peak, weight_peak))
    return np.ones_like(x) if strength == 0 else x**strength / w ** (1 - strength)


def scaled(rng, rule, scheme, shared, dim):
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
        errors = [scheme.inputs(x / s) @ rounded(m * s, scheme).T - x.astype(np.float64) @ m.T for m in w]
        losses.append(sum((error**2).sum() for error in errors))
    best = int(np.argmin(losses))
    if sorted(losses)[1] < 1.002 * losses[best] or best in (0, STRENGTHS - 1):
        raise Tie
    scale = rule(mean, peak, weight_peak, best / (STRENGTHS - 1))
    return {"cols": cols, "shared": shared, "dim": dim, "bits": scheme.bits, "group": scheme.group, "matrices": w,
            "inputs": x, "scale": scale}


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
    int4, int8, w8a8 = Scheme(4, 32), Scheme(8, 32), Scheme(8, 0)
    cases = {"gptq": draw(gptq, int4), "gptq_row": draw(gptq, w8a8), "awq": draw(scaled, awq_scale, int4, 1, 1),
             "awq_shared": draw(scaled, awq_scale, int4, 2, 8), "smooth": draw(scaled, smooth_scale, int8, 1, 1),
             "smooth_row": draw(scaled, smooth_scale, w8a8, 1, 1)}
    (folder / "calibration.json").write_text(json.dumps(plain(cases), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
