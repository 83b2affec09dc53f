"""cuBLASLt's times, by way of torch, for the products that linear_large.cu times."""
import torch

torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def median_us(run, repeat, chain):
    times = []
    for i in range(repeat + 1):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        for k in range(chain):
            run(i * chain + k)
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b) * 1000 / chain)
    return sorted(times[1:])[repeat // 2]


for rows, cols in ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)):
    n_copy = max(2, (200 << 20) // (rows * cols * 2) + 1)
    weights = [torch.rand(rows, cols, device="cuda", dtype=torch.bfloat16) - 0.5 for _ in range(n_copy)]
    for tokens in (128, 256, 512, 1024, 2048, 4096):
        x = torch.rand(tokens, cols, device="cuda", dtype=torch.bfloat16) - 0.5
        out = torch.empty(tokens, rows, device="cuda", dtype=torch.bfloat16)
        flops = 2 * rows * cols * tokens
        chain = int(min(20, max(3, 3e12 / flops)))
        us = median_us(lambda i: torch.matmul(x, weights[i % n_copy].t(), out=out), 5, chain)
        print(f"torch {rows:6} x {cols:6}, {tokens:4} tokens: {us:.1f} us, {flops / us * 1e-6:.0f} TF")
