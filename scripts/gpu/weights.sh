#!/usr/bin/env bash
# Weights in 8 and 4 bits. Takes about 450 s on one H100: op and session tests (40 s), products by format and batch beside the floor of their bytes (120 s), decode
# of the llama-3-8b shape by weights, one text and 8 to 64 (190 s), the most tokens beside int8 weights (40 s), SmolLM2 and the demo by weights (60 s, side by side).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
timeout 60 "$BUILD"/tests/cuda/test_cuda_ops packed > "$OUT/ops.txt" 2>&1; tail -n 1 "$OUT/ops.txt"
timeout 60 "$BUILD"/tests/cuda/test_cuda_ops product >> "$OUT/ops.txt" 2>&1; tail -n 1 "$OUT/ops.txt"; grep FAILED "$OUT/ops.txt"
timeout 60 "$BUILD"/tests/cuda/test_cuda_session > "$OUT/session.txt" 2>&1; grep -E "FAILED|checks" "$OUT/session.txt"
timeout 60 env REQUIRE_GPU=1 node node_modules/vitest/vitest.mjs run test/gpu/weights.test.ts > "$OUT/vitest.txt" 2>&1; tail -n 5 "$OUT/vitest.txt"
timeout 180 node bench/gpu.mjs --only vector_product,skinny_product,matmul_bf16 > "$OUT/products.txt" 2>&1; cat "$OUT/products.txt"
for w in bf16 int8 int4; do
  timeout 60 $DUO bench --shape llama-3-8b --weights $w --kv-dtype int8 --device cuda:0 --contexts 8k,128k --prefill-up-to 8k --steps 16 > "$OUT/decode-$w.txt" 2> "$OUT/decode-$w.log"; tail -n 1 "$OUT/decode-$w.log"
  # Full attention's 64 caches of 8K are 35 GB in int8; 32K in the mask of 50 %, 32 of them, as much.
  timeout 60 $DUO bench --shape llama-3-8b --weights $w --kv-dtype int8 --device cuda:0 --contexts 8k --prefill-up-to 0 --batch 8,9,16,32,64 --steps 8 > "$OUT/batch-8k-$w.txt" 2> "$OUT/batch-8k-$w.log"; cat "$OUT/batch-8k-$w.txt"
  timeout 60 $DUO bench --shape llama-3-8b --weights $w --kv-dtype int8 --device cuda:0 --contexts 32k --prefill-up-to 0 --streaming-fraction 0.5 --batch 32 --steps 8 > "$OUT/batch-32k-$w.txt" 2> "$OUT/batch-32k-$w.log"; cat "$OUT/batch-32k-$w.txt"
done
timeout 80 $DUO bench --shape llama-3-8b --weights int8 --kv-dtype int4 --device cuda:0 --contexts 4300000 --prefill-up-to 0 --steps 4 > "$OUT/most-int8.txt" 2> "$OUT/most-int8.log"; cat "$OUT/most-int8.txt" "$OUT/most-int8.log" | tail -n 12
$DUO generate --model "$M" --objective long-range --documents "$MEASURE" --device cuda:0 --min-tokens 1k --max-tokens 4k --seed 42 --count 8 --out "$OUT/samples.jsonl" --overwrite > "$OUT/generate.log" 2>&1
for w in bf16 stored int8 int4; do
  (
    timeout 80 $DUO eval --model "$M" --weights $w --device cuda:0 --samples "$OUT/samples.jsonl" --tasks niah_single_1,long-range --documents "$MEASURE" --lengths 2k --task-samples 20 --out "$OUT/smollm2-$w" > "$OUT/smollm2-$w.txt" 2> "$OUT/smollm2-$w.log"
    timeout 40 $DUO eval --model demo --weights $w --device cuda:0 --tasks single-passkey --wording small-vocabulary --lengths 1k --task-samples 20 --out "$OUT/demo-$w" > "$OUT/demo-$w.txt" 2> "$OUT/demo-$w.log"
    timeout 40 $DUO bench --model "$M" --weights $w --device cuda:0 --contexts 2k,8k --steps 32 > "$OUT/bench-smollm2-$w.txt" 2> "$OUT/bench-smollm2-$w.log"
  ) &
done
wait
rm -f "$OUT/samples.jsonl"
tail -n 2 "$OUT"/*.log
