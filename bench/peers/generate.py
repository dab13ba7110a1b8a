"""transformers' decode step on a Llama shape with random bf16 weights: static cache, eager and under torch.compile.

The step is checked (static cache equal to no cache within bf16) before it is timed, on a cache of random values. Prints one JSON document; what
failed or did not fit in `--seconds` stands in it with the reason. Needs torch with CUDA and transformers 5; downloads nothing.
    python3 bench/peers/generate.py --contexts 131072,32768,8192 --steps 16
"""

import argparse
import inspect
import json
import signal
import statistics
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

WARM_UP_STEPS = 4  # compiling, and recording of graphs


def build(options):
    config = LlamaConfig(vocab_size=options.vocab, hidden_size=options.hidden, intermediate_size=options.intermediate, num_hidden_layers=options.layers,
                         num_attention_heads=options.heads, num_key_value_heads=options.kv_heads, head_dim=options.hidden // options.heads,
                         max_position_embeddings=1 << 20, rms_norm_eps=1e-5, tie_word_embeddings=False, attn_implementation="sdpa")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(options.device):
        return LlamaForCausalLM(config).eval()


def make_step(model):
    """A call that feeds tokens at a position. Static caches of transformers 5 count for themselves; of 4 they are told."""
    takes_position = "cache_position" in inspect.signature(model.model.forward).parameters

    def step(run, tokens, cache, start):
        positions = torch.arange(start, start + tokens.shape[1], device=tokens.device)
        told = {"cache_position": positions} if takes_position else {}
        return run(input_ids=tokens, position_ids=positions[None], past_key_values=cache, use_cache=True, **told).logits

    return step


def check(model, step, options):
    """One step with a static cache against the same text in one go. Relative error."""
    tokens = torch.randint(0, options.vocab, (1, 17), device=options.device)
    expected = model(input_ids=tokens, use_cache=False).logits[0, -1].float()
    cache = StaticCache(config=model.config, max_cache_len=32)
    step(model, tokens[:, :-1], cache, 0)
    found = step(model, tokens[:, -1:], cache, 16)[0, -1].float()
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error < 5e-2:
        raise SystemExit(f"Expected the static cache to agree with no cache, got a relative error of {error}")
    return error


def make_cache(model, step, context, options):
    """A cache that holds `context` tokens of random values, with room for the steps."""
    cache = StaticCache(config=model.config, max_cache_len=context + options.steps + WARM_UP_STEPS + 1)
    step(model, torch.tensor([[1]], device=options.device), cache, 0)  # allocates
    for layer in cache.layers:
        layer.keys.normal_()
        layer.values.normal_()
        if hasattr(layer, "cumulative_length"):
            layer.cumulative_length.fill_(context)
    return cache


def measure(model, run, step, context, options):
    """Median milliseconds of a step that finds `context` tokens cached."""
    cache = make_cache(model, step, context, options)
    token = torch.tensor([[1]], device=options.device)
    times = []
    for turn in range(WARM_UP_STEPS + options.steps):
        synchronize(options)
        begin = time.perf_counter()
        step(run, token, cache, context + turn)
        synchronize(options)
        if turn >= WARM_UP_STEPS:
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def synchronize(options):
    if options.device == "cuda":
        torch.cuda.synchronize()


def stop(*_):
    raise TimeoutError("the time given by --seconds is over")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", default="131072,32768,8192")
    parser.add_argument("--modes", default="eager,compile")
    parser.add_argument("--seconds", type=int, default=90)
    parser.add_argument("--device", default="cuda")
    shape = {"steps": 16, "layers": 32, "heads": 32, "kv-heads": 8, "hidden": 4096, "intermediate": 14336, "vocab": 128256}
    for flag, default in shape.items():
        parser.add_argument(f"--{flag}", type=int, default=default)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("Expected a CUDA device for torch, found none")
    torch.manual_seed(42)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(options.seconds)
    rows, error, is_over = [], None, False
    with torch.no_grad():
        try:
            model = build(options)
            step = make_step(model)
            error = check(model, step, options)
        except TimeoutError as reason:
            raise SystemExit(f"Expected to build and check the model in time: {reason}") from reason
        for mode in options.modes.split(","):
            run = torch.compile(model, mode="reduce-overhead") if mode == "compile" else model
            for context in map(int, options.contexts.split(",")):
                row = {"mode": mode, "context": context}
                rows.append(row)
                if is_over:
                    row["unavailable"] = "the time given by --seconds is over"
                    continue
                try:
                    torch.compiler.reset()  # a second shape would be compiled for any shape, which is slower
                    row["ms"] = measure(model, run, step, context, options)
                except Exception as reason:  # whatever a peer raises is its result
                    row["unavailable"] = f"{type(reason).__name__}: {str(reason).splitlines()[0] if str(reason) else ''}"
                    is_over = isinstance(reason, TimeoutError)
                if options.device == "cuda":
                    torch.cuda.empty_cache()
    signal.alarm(0)
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    print(json.dumps({"peer": "transformers static cache", "torch": torch.__version__, "transformers": transformers.__version__, "device": device,
                      "relativeError": error, "shape": vars(options), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
