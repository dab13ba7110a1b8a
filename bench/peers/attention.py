"""PyTorch's scaled-dot-product attention on the shapes of `duo bench`: one decode query, and a causal prefill, forward and backward.

Each backend that the machine has (flash, cuDNN, memory-efficient) is checked against fp32 math on a few rows, then timed with CUDA events, decode
on buffers used in turn so that the L2 cache is cold. Decode is tried twice: with the queries of a group as heads (enable_gqa), and packed as rows of
one KV head, which is the same function without a causal mask. Prints one JSON document; what failed or did not fit in `--seconds` stands in it with
the reason. Needs torch with CUDA.
    python3 bench/peers/attention.py --heads 32 --kv-heads 8 --head-dim 128 --contexts 32768,131072 --prefill 8192,32768
"""

import argparse
import json
import signal
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {name: getattr(SDPBackend, name) for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION") if hasattr(SDPBackend, name)}
COLD_BYTES = 256 << 20  # several times any L2
HOLD_CYCLES = 100000  # the device is kept busy while a run is queued, so that Python's own time is not measured


def time_ms(body, repeats):
    """Median of `repeats` runs in milliseconds, after three that do not count."""
    for turn in range(3):
        body(turn)
    times = []
    for turn in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(HOLD_CYCLES)
        begin.record()
        body(turn)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def attend(query, key, value, causal):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=query.shape[1] != key.shape[1])


def relative_error(found, expected):
    return float((found.float() - expected).abs().max() / expected.abs().max())


def expected_row(query, key, value, row, causal):
    """fp32 attention of one query row of head 0."""
    seen = row + 1 if causal else key.shape[2]
    scores = key[0, 0, :seen].float() @ query[0, 0, row].float() / query.shape[-1] ** 0.5
    return torch.softmax(scores, 0) @ value[0, 0, :seen].float()


def stop(*_):
    raise TimeoutError("the time given by --seconds is over")


def attempt(rows, row, measure):
    """Append `row`, filled by `measure` or with the reason why it could not."""
    rows.append(row)
    try:
        row.update(measure())
    except TimeoutError:
        row["unavailable"] = "the time given by --seconds is over"
        raise
    except Exception as reason:  # whatever a backend raises is its result
        row["unavailable"] = f"{type(reason).__name__}: {(str(reason).splitlines() or [''])[0]}"


def measure_decode(options, context, rows):
    shape = (1, options.kv_heads, context, options.head_dim)
    bytes_read = 2 * 2 * options.kv_heads * context * options.head_dim
    copies = min(64, 1 + COLD_BYTES // bytes_read)
    caches = [(torch.randn(shape, device="cuda", dtype=torch.bfloat16), torch.randn(shape, device="cuda", dtype=torch.bfloat16)) for _ in range(copies)]
    heads = torch.randn((1, options.heads, 1, options.head_dim), device="cuda", dtype=torch.bfloat16)
    packed = heads.view(1, options.kv_heads, options.heads // options.kv_heads, options.head_dim)
    for layout, query in (("heads", heads), ("packed", packed)):
        for name, backend in BACKENDS.items():

            def measure(query=query, backend=backend):
                with sdpa_kernel([backend]):
                    error = relative_error(attend(query, *caches[0], False)[0, 0, 0], expected_row(query, *caches[0], 0, False))
                    ms = time_ms(lambda turn: attend(query, *caches[turn % copies], False), options.repeats)
                return {"ms": ms, "relativeError": error, "bytesPerSecond": bytes_read / ms * 1e3}

            attempt(rows, {"op": "decode", "backend": name, "layout": layout, "context": context}, measure)


def measure_prefill(options, tokens, rows):
    def make(heads):
        return torch.randn((1, heads, tokens, options.head_dim), device="cuda", dtype=torch.bfloat16, requires_grad=True)

    query, key, value = make(options.heads), make(options.kv_heads), make(options.kv_heads)
    gradient = torch.randn_like(query)
    operations = 2 * options.heads * options.head_dim * tokens * tokens  # causal half of 4·H·D·T²
    for name, backend in BACKENDS.items():

        def measure(backend=backend):
            with sdpa_kernel([backend]):
                out = attend(query, key, value, True)
                error = relative_error(out[0, 0, tokens // 2], expected_row(query, key, value, tokens // 2, True))
                with torch.no_grad():
                    forward = time_ms(lambda turn: attend(query, key, value, True), options.repeats)
                backward = time_ms(lambda turn: torch.autograd.grad(out, (query, key, value), gradient, retain_graph=True), options.repeats)
            return {"forwardMs": forward, "backwardMs": backward, "relativeError": error, "forwardFlops": operations / forward * 1e3,
                    "backwardFlops": 2.5 * operations / backward * 1e3}

        attempt(rows, {"op": "prefill", "backend": name, "tokens": tokens}, measure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, default in (("heads", 32), ("kv-heads", 8), ("head-dim", 128), ("repeats", 20), ("seconds", 60)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    parser.add_argument("--contexts", default="32768,131072")
    parser.add_argument("--prefill", default="8192,32768")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("Expected a CUDA device for torch, found none")
    torch.manual_seed(42)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(options.seconds)
    rows = []
    try:
        for context in filter(None, options.contexts.split(",")):
            measure_decode(options, int(context), rows)
        for tokens in filter(None, options.prefill.split(",")):
            measure_prefill(options, int(tokens), rows)
    except TimeoutError:
        rows.append({"unavailable": "the rest: the time given by --seconds is over"})
    signal.alarm(0)
    print(json.dumps({"peer": "torch SDPA", "torch": torch.__version__, "device": torch.cuda.get_device_name(), "shape": vars(options), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
