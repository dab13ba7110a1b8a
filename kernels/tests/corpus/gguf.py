#!/usr/bin/env python3
"""Write the seeds of fuzz_gguf: gguf.py OUT. Each is a whole file of a few hundred bytes that shows one part of the format."""
import pathlib, struct, sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
          12: (256, 144), 13: (256, 176), 14: (256, 210)}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(kind, content):
    if kind == STRING:
        return text(content)
    if kind == ARRAY:
        inner, items = content
        return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, item) for item in items)
    return struct.pack("<" + CODES[kind], content)


def make(fields, tensors, alignment=32, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(fields))
    for key, kind, content in fields:
        out += text(key) + struct.pack("<I", kind) + value(kind, content)
    data = b""
    for name, shape, kind in tensors:
        data += b"\0" * (-len(data) % alignment)
        out += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", axis) for axis in shape[::-1]) + struct.pack("<IQ", kind, len(data))
        count = 1
        for axis in shape:
            count *= axis
        elements, size = BLOCKS.get(kind, (32, 18))
        data += bytes(i % 251 for i in range(count // elements * size))
    return out + b"\0" * (-len(out) % alignment) + data


LLAMA = ("general.architecture", STRING, "llama")
SEEDS = {
    "empty": make([], []),
    "version-2": make([LLAMA], [("output_norm.weight", [8], 0)], version=2),
    "values": make([LLAMA, ("a", U8, 1), ("b", I8, -1), ("c", U16, 2), ("d", I16, -2), ("e", U32, 3), ("f", I32, -3), ("g", F32, 0.5), ("h", BOOL, 1),
                    ("i", U64, 4), ("j", I64, -4), ("k", F64, 0.25)], []),
    "arrays": make([("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "ab", ""])), ("tokenizer.ggml.scores", ARRAY, (F32, [0.0, -1.0])),
                    ("tokenizer.ggml.token_type", ARRAY, (I32, [1, 3])), ("flags", ARRAY, (BOOL, [0, 1]))], []),
    "aligned": make([("general.alignment", U32, 64), LLAMA], [("blk.0.attn_q.weight", [2, 32], 3), ("blk.0.attn_k.bias", [3], 0)], alignment=64),
    "types": make([LLAMA], [(f"blk.{kind}.ffn_up.weight", [1, 256], kind) for kind in BLOCKS]),
    "other-type": make([LLAMA], [("token_embd.weight", [1, 32], 20)]),
    "axes": make([], [("a", [1, 2, 1, 2], 0), ("rope_freqs.weight", [4], 0)]),
    "split": make([("split.no", U16, 1), ("split.count", U16, 2), ("split.tensors.count", I32, 1)], [("output.weight", [2, 4], 1)]),
}
for name, seed in SEEDS.items():
    (pathlib.Path(sys.argv[1]) / name).write_bytes(seed)
