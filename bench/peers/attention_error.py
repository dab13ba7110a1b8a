"""Holds duo's attention kernels and PyTorch's bf16 attention to float64 on one problem, and prints the error of each, forward and backward.

The problem and duo's answers come from `export_attention` (kernels/tests/cuda). PyTorch mixes the same two branches in bf16 under autograd.
Exits 1 where duo's relative error is more than twice PyTorch's. Needs torch with CUDA, safetensors.
    kernels/build-gpu/tests/cuda/export_attention /tmp/attention.safetensors && python3 bench/peers/attention_error.py /tmp/attention.safetensors
"""

import argparse
import json

import torch
from safetensors.torch import load_file

LIMIT = 2.0  # of PyTorch's own error, as flash-attention asks of its kernels


def mix_branches(query, key, value, gates, sink, recent):
    """[T, H, D]: gates·full + (1 − gates)·streaming, in the dtype of the inputs; softmax in it too unless it is lower than fp32."""
    tokens, heads, dim = query.shape
    group = heads // key.shape[1]
    q = query.transpose(0, 1)
    k, v = (x.transpose(0, 1).repeat_interleave(group, 0) for x in (key, value))
    row, column = torch.arange(tokens, device=q.device)[:, None], torch.arange(tokens, device=q.device)[None, :]
    causal = column <= row
    seen = causal & ((column < sink) | (row - column < recent))
    if q.dtype == torch.float64:
        scores = q @ k.transpose(1, 2) / dim**0.5
        full, stream = (torch.softmax(scores.masked_fill(~mask, float("-inf")), -1) @ v for mask in (causal, seen))
    else:
        attend = torch.nn.functional.scaled_dot_product_attention
        full = attend(q[None], k[None], v[None], is_causal=True)[0]
        stream = attend(q[None], k[None], v[None], attn_mask=seen)[0]
    weight = gates.repeat_interleave(group).to(q.dtype)[:, None, None]
    return (weight * full + (1 - weight) * stream).transpose(0, 1)


def run(tensors, dtype):
    inputs = {name: tensors[name].to(dtype).requires_grad_() for name in ("query", "key", "value")}
    gates = tensors["gates"].to(torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_()
    sink, recent = tensors["window"].tolist()
    mixed = mix_branches(*inputs.values(), gates, sink, recent)
    gradients = torch.autograd.grad(mixed, (*inputs.values(), gates), tensors["gradient"].to(dtype))
    return dict(zip(("mixed", "d_query", "d_key", "d_value", "d_gates"), (mixed.detach(), *gradients)))


def relative_error(found, expected):
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    tensors = {name: tensor.cuda() for name, tensor in load_file(parser.parse_args().file).items()}
    expected, peer = run(tensors, torch.float64), run(tensors, torch.bfloat16)
    rows = {name: {"duo": relative_error(tensors[name], expected[name]), "torch": relative_error(peer[name], expected[name])} for name in expected}
    print(json.dumps({"tokens": tensors["query"].shape[0], "heads": tensors["query"].shape[1], "kvHeads": tensors["key"].shape[1], "headDim": tensors["query"].shape[2],
                      "window": tensors["window"].tolist(), "gate": tensors["gates"][0].item(), "relativeError": rows}))
    worst = max(row["duo"] / row["torch"] for row in rows.values())
    if not worst <= LIMIT:
        raise SystemExit(f"Expected errors of at most {LIMIT} times PyTorch's, got {worst:.2f} times")


if __name__ == "__main__":
    main()
