#!/usr/bin/env bash
# Weights streamed from pinned host memory: about 240 s on one H100. The native tests and the command line (60 s), then llama-3-70b: identification steps
# of 8K and 16K, a prefill of 32K, a measured sample of 8K (150 s); qwen2.5-32b, a step of 8K (30 s).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
free -g | head -2; ulimit -l; nvidia-smi --query-gpu=name,memory.total,pcie.link.gen.max,pcie.link.width.max --format=csv
timeout 60 "$BUILD"/tests/cuda/test_cuda_streaming > "$OUT/native.txt" 2>&1; echo "native rc $?"; tail -n 3 "$OUT/native.txt"
timeout 60 env REQUIRE_GPU=1 node node_modules/vitest/vitest.mjs run test/gpu/streamed-weights.test.ts > "$OUT/vitest.txt" 2>&1; echo "vitest rc $?"; tail -n 5 "$OUT/vitest.txt"
timeout 220 node bench/gpu-stream.mjs --seconds 150 > "$OUT/llama-3-70b.txt" 2>&1; echo "llama-3-70b rc $?"; cat "$OUT/llama-3-70b.txt"
timeout 80 node bench/gpu-stream.mjs --shape qwen2.5-32b --steps 8192 --prefill 16384 --seconds 50 > "$OUT/qwen2.5-32b.txt" 2>&1; echo "qwen2.5-32b rc $?"; cat "$OUT/qwen2.5-32b.txt"
