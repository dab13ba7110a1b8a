#!/usr/bin/env python3
"""Next-token log-probabilities of a model folder by transformers, float32 on the CPU: what scripts/test-model.ts compares with.

Usage: log-probs.py <model folder> <texts.json> <out.json>
texts.json: {"name": [token ids, …], …}; out.json: {"name": {"logProbs": […], "argmax": […], "margin": […]}, …}, one value per next token.
Development only; duo itself never runs Python. Needs torch and transformers.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    folder, texts_path, out_path = sys.argv[1:]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with open(texts_path, encoding="utf8") as file:
        texts = json.load(file)
    found = {}
    for name, tokens in texts.items():
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, :-1].double()
        log_probs = torch.log_softmax(logits, dim=-1)
        best = torch.topk(logits, 2, dim=-1)
        found[name] = {
            "logProbs": log_probs.gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist(),
            "argmax": best.indices[:, 0].tolist(),
            "margin": (best.values[:, 0] - best.values[:, 1]).tolist(),
        }
    with open(out_path, "w", encoding="utf8") as file:
        json.dump(found, file)


main()
