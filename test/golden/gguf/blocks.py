#!/usr/bin/env python3
"""Write golden blocks of every quantised GGUF type that duo reads: blocks.py OUT (needs the Python packages gguf and numpy).

<type>.blocks: 512 elements as random bytes whose float16 fields are finite; <type>.f32: their values by gguf.quants.dequantize, little-endian.
"""
import pathlib, sys
import numpy as np
from gguf import GGMLQuantizationType as Type, GGML_QUANT_SIZES
from gguf.quants import dequantize

HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(20261126)
for name, offsets in HALVES.items():
    elements, size = GGML_QUANT_SIZES[Type[name]]
    blocks = rng.integers(0, 256, (512 // elements, size), dtype=np.uint8)
    for offset in offsets:
        halves = rng.normal(0, 0.1, blocks.shape[0]).astype(np.float16)
        halves[0] = np.float16(3e-7)  # a subnormal
        blocks[:, offset:offset + 2] = halves.view(np.uint8).reshape(-1, 2)
    values = dequantize(blocks, Type[name]).astype("<f4")
    (out / f"{name}.blocks").write_bytes(blocks.tobytes())
    (out / f"{name}.f32").write_bytes(values.tobytes())
