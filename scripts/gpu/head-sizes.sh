#!/usr/bin/env bash
# Attention at head sizes 64 to 256 and of many queries per KV head, beside sizes 64 and 128 as they were: about 200 s.
# Each row is checked against float64 before it is timed; sizes-<op>.jsonl hold seconds and error. Decode reads 128K entries of one layer, 8 KV heads.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
E="$BUILD/tests/cuda"; [ -x "$E/test_cuda_ops" ] || E=$(dirname "$(find "$BUILD" -name test_cuda_ops -type f | head -1)")
B=$(find "$BUILD" -name duo_bench -type f | head -1)
timeout 60 "$E/test_cuda_ops" attention decode pages layer > "$OUT/ops.txt" 2>&1; echo "== ops rc $?"; tail -n 1 "$OUT/ops.txt"
row() {  # op, limit in seconds, name=number …
  local op=$1 limit=$2 line
  shift 2
  line=$(timeout "$limit" "$B" "$op" "$@" --device cuda:0 --repeats 20 2>&1 | tail -n 1)
  printf '{"op": "%s", "sizes": "%s", "result": %s}\n' "$op" "$*" "${line:-null}" | tee -a "$OUT/sizes-$op.jsonl"
}
for dim in 64 80 96 128 192 256; do
  for dtype in bf16 int8 int4; do row decode_attention 20 heads=32 kv_heads=8 head_dim=$dim tokens=131072 retrieval=4 sink=128 recent=256 dtype=$dtype; done
  for branch in 0 1 2; do row attention_forward 20 tokens=8192 heads=16 kv_heads=8 head_dim=$dim sink=128 recent=256 branch=$branch; done
  row attention_backward 20 tokens=8192 heads=16 kv_heads=8 head_dim=$dim sink=128 recent=256 gates=2
done
# Queries per KV head: the same cache, so that time says whether it is read once.
for heads in 8 16 32 64 71; do row decode_attention 20 heads=$heads kv_heads=1 head_dim=64 tokens=1048576 retrieval=1 sink=128 recent=256 dtype=bf16; done
# The kernels by mma where wgmma is, both branches as one softmax.
for dim in 64 128; do
  for branch in 0 1 2; do DUO_HOPPER=0 row attention_forward 20 tokens=8192 heads=16 kv_heads=8 head_dim=$dim sink=128 recent=256 branch=$branch; done
  DUO_HOPPER=0 row attention_backward 20 tokens=8192 heads=16 kv_heads=8 head_dim=$dim sink=128 recent=256 gates=2
done
