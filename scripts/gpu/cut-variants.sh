#!/usr/bin/env bash
# What might make the cut by memory better: other samples, weaker interactions, whole heads, a second round of measurement. A call of its own: beside four other
# programs on one H100 its measurements took 310 s and its rows were not done after 400 s (27 November 2026). Its limit is 540 s; the rows that it had are kept.
set -u
. scripts/gpu/settings.sh
mkdir -p "$OUT"
timeout 540 node bench/cut-variants.mjs --model "$M" --learn "$LEARN" --measure "$MEASURE" --device cuda:0 --out "$OUT/variants" > "$OUT/variants.log" 2>&1
echo "rc $?"
tail -n 40 "$OUT/variants.log"
