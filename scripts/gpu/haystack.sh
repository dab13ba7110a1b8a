#!/usr/bin/env bash
# Where the passkeys of the default are best hidden: generated prose, or the texts that ship with duo; three seeds, kept gain on other books. Not run yet; should
# take about 200 s on one H100: six identifications of 25 s, two at a time, and one evaluation.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
DUO="node bin/duo.js"
identify() {  # name, flags …
  local name=$1
  shift
  timeout 120 $DUO identify --model "$M" --held-out-samples 0 --device cuda:0 --out "$OUT/$name" --overwrite "$@" > "$OUT/$name.txt" 2> "$OUT/$name.log"
}
for seed in 42 43 44; do identify "generated-$seed" --seed $seed; done &
for seed in 42 43 44; do identify "corpus-$seed" --seed $seed --haystack corpus/texts --documents corpus/texts; done &
wait
gates=()
for name in {generated,corpus}-{42,43,44}; do gates+=(--gates "$OUT/$name/gates.json"); done
timeout 100 $DUO eval --model "$M" "${gates[@]}" --fractions 0.5,0.7,0.8,0.9 --baselines full,streaming --device cuda:0 --tasks long-range --documents "$MEASURE" --lengths 8k \
  --task-samples 20 --json > "$OUT/gain.json" 2> "$OUT/gain.log"
find "$OUT" -name checkpoint.json -delete
tail -n 2 "$OUT"/*.log
