#!/usr/bin/env bash
# Whether the default objective should be `both`: masks from passkeys, from long-range tokens and from both by turns, where the texts to learn from are the small
# corpus that ships with duo, as they are when nobody names documents; kept gain on books that nothing was learnt from.
# Should take 150 to 240 s on one H100 (its own budget stops it at 280 s and the table holds what is there; steps run four at a time, the most wanted first).
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
timeout 295 node bench/compare-distances.mjs --model "$M" --learn corpus/texts --measure "$MEASURE" --out "$OUT" --device cuda:0 --jobs 4 --budget-seconds 280 \
  --only gates-both-auto,gates-passkey-hidden,gates-long-range-kl,quadratic-both-auto-8,quadratic-passkey-hidden,quadratic-long-range-kl-8 > "$OUT/objective.txt" 2>&1
echo "rc $?"
rm -rf "$OUT/samples"
rm -f "$OUT"/*/run/checkpoint.json
tail -n 80 "$OUT/objective.txt"
