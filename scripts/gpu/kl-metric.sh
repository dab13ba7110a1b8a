#!/usr/bin/env bash
# The KL metric's features on the card: its tests, then seconds on SmolLM2 beside the machine's CPU, and on the llama-3-8b shape. Should take 90 s on one H100.
set -u
. scripts/gpu/settings.sh
( "$BUILD"/tests/cuda/test_cuda_ops launch_kl_distributions launch_kl_tokens launch_split_f16 launch_kl_means launch_kl_project launch_kl_pull_back | grep -E "FAILED|checks"
  "$BUILD"/tests/cuda/test_cuda_kl
  "$BUILD"/tests/cuda/test_cuda_distill
) 2>&1 | tee "$OUT/kl-metric-tests.txt"
timeout 150 node bench/gpu-kl-metric.mjs --model "$M" --shape llama-3-8b 2>&1 | tee "$OUT/gpu-kl-metric.txt"
