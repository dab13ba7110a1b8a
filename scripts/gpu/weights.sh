#!/usr/bin/env bash
# Weights in 8 and 4 bits. Takes about 230 s on one H100: op and session tests (40 s), decode of the llama-3-8b shape by weights (90 s), the most tokens
# beside int8 weights (40 s), SmolLM2 and the demo by weights (60 s, side by side).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
timeout 60 "$BUILD"/tests/cuda/test_cuda_ops packed > "$OUT/ops.txt" 2>&1; tail -n 1 "$OUT/ops.txt"
timeout 60 "$BUILD"/tests/cuda/test_cuda_ops product >> "$OUT/ops.txt" 2>&1; tail -n 1 "$OUT/ops.txt"; grep FAILED "$OUT/ops.txt"
timeout 60 "$BUILD"/tests/cuda/test_cuda_session > "$OUT/session.txt" 2>&1; grep -E "FAILED|checks" "$OUT/session.txt"
timeout 60 env REQUIRE_GPU=1 node node_modules/vitest/vitest.mjs run test/gpu/weights.test.ts > "$OUT/vitest.txt" 2>&1; tail -n 5 "$OUT/vitest.txt"
for w in bf16 int8 int4; do
  timeout 60 $DUO bench --shape llama-3-8b --weights $w --device cuda:0 --contexts 8k,128k --prefill-up-to 8k --steps 16 > "$OUT/decode-$w.txt" 2> "$OUT/decode-$w.log"; tail -n 1 "$OUT/decode-$w.log"
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
