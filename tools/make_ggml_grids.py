#!/usr/bin/env python3
"""src/format/ggml_grids.c: the grids of GGML's IQ types, from the PyPI package `gguf`.

    python3 tools/make_ggml_grids.py > src/format/ggml_grids.c"""
from gguf import quants as q

print('''/* The grids of GGML's IQ types: facts of the format, which follow from no formula. An entry is eight fields of 2 bits
 * (IQ1, IQ2) or four of 4 bits (IQ3), the first lowest; a field is an index into the values of its type. */
#include "format/ggml_lattice.h"

/* clang-format off */''')
for name, c in (('iq2_xxs', q.IQ2_XXS), ('iq2_xs', q.IQ2_XS), ('iq2_s', q.IQ2_S), ('iq3_xxs', q.IQ3_XXS),
                ('iq3_s', q.IQ3_S), ('iq1', q.IQ1_S)):
    grid = bytes.fromhex(c.grid_hex.decode())
    words = [grid[i] | grid[i + 1] << 8 for i in range(0, len(grid), 2)]
    assert len(words) == c.grid_shape[0]
    print(f'const uint16_t ggml_grid_{name}[{len(words)}] = {{')
    for i in range(0, len(words), 20):
        print('  ' + ' '.join(f'0x{word:04x},' for word in words[i:i + 20]))
    print('};')
print('/* clang-format on */')
