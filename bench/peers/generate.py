"""transformers' decode step on a Llama shape with random bf16 weights: static cache, eager and under torch.compile.

The step is checked (finite logits, static cache equal to the dynamic one within bf16) before it is timed. Prints one JSON document.
Needs torch with CUDA and transformers; downloads nothing.
    python3 bench/peers/generate.py --contexts 8192,32768,131072 --steps 32
"""

import argparse
import json
import statistics

import torch
from transformers import LlamaConfig, LlamaForCausalLM, StaticCache


def build(options):
    config = LlamaConfig(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=options.layers, num_attention_heads=32,
                         num_key_value_heads=8, head_dim=128, max_position_embeddings=1 << 20, rms_norm_eps=1e-5, tie_word_embeddings=False)
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        return LlamaForCausalLM(config).eval()


def make_cache(model, length):
    return StaticCache(config=model.config, max_cache_len=length, max_batch_size=1, device="cuda", dtype=torch.bfloat16)


def check(model):
    """One step with a static cache against the same step with the default cache, on a short text."""
    tokens = torch.randint(0, 1000, (1, 17), device="cuda")
    with torch.no_grad():
        expected = model(tokens).logits[0, -1].float()
        cache = make_cache(model, 32)
        model(tokens[:, :-1], past_key_values=cache, use_cache=True, cache_position=torch.arange(16, device="cuda"))
        found = model(tokens[:, -1:], past_key_values=cache, use_cache=True, cache_position=torch.tensor([16], device="cuda")).logits[0, -1].float()
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error < 5e-2:
        raise SystemExit(f"Expected the static cache to agree with the dynamic one, got a relative error of {error}")
    return error


def measure(model, step, context, options):
    """Median milliseconds of a step at `context` cached tokens. The cache is as allocated: its values do not change the time."""
    cache = make_cache(model, context + 8)
    token, position = torch.tensor([[1]], device="cuda"), torch.tensor([context], device="cuda")
    times = []
    with torch.no_grad():
        for turn in range(options.steps + 5):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            step(token, past_key_values=cache, use_cache=True, cache_position=position)
            end.record()
            end.synchronize()
            if turn >= 5:
                times.append(begin.elapsed_time(end))
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", default="8192,32768,131072")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--layers", type=int, default=32)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Expected a CUDA device for torch, found none")
    torch.manual_seed(42)
    model = build(options)
    rows, error = [], check(model)
    for name, step in (("eager", model), ("compile", torch.compile(model, mode="reduce-overhead", fullgraph=False))):
        for context in map(int, options.contexts.split(",")):
            try:
                rows.append({"mode": name, "context": context, "ms": measure(model, step, context, options)})
            except RuntimeError as reason:
                rows.append({"mode": name, "context": context, "unavailable": str(reason).splitlines()[0]})
            torch.cuda.empty_cache()
    print(json.dumps({"peer": "transformers static cache", "torch": torch.__version__, "device": torch.cuda.get_device_name(), "relativeError": error,
                      "layers": options.layers, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
