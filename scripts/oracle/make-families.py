"""Writes test/golden/families/: a tiny random model of every family that duo computes, with the logits of transformers.

    python3 -m venv ORACLE && ORACLE/bin/pip install torch transformers==5.18.0 safetensors pillow
    ORACLE/bin/python scripts/oracle/make-families.py test/golden/families

A folder each: config.json as such models are published, config-saved.json as this transformers saves it, model.safetensors (BF16, drawn
from the seed, names as transformers saves them), expected.safetensors (`tokens` [72] and float32 `logits` [72, vocab] of the eager
attention in float32 on a CPU). families.json says what made them. Development only: duo itself runs no Python.
"""

import copy
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from families import FAMILIES
from safetensors.torch import load_file, save_file

NUM_TOKENS = 72
# A relative difference of logits that no rounding makes; tests allow 1e-4.
SEEN = 1e-2


def open_config(fields):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(fields))
        return transformers.AutoConfig.from_pretrained(folder)


def make_model(fields, untie=False):
    config = open_config(fields)
    if untie:
        config.tie_word_embeddings = False
    model_class = getattr(transformers, fields["architectures"][0])
    return model_class._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()


def draw_weights(model, seed):
    """Uniform, scaled so that attention is neither flat nor saturated, exact in bfloat16."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.named_parameters()):
        drawn = 2 * torch.rand(value.shape, generator=generator) - 1
        if name.endswith("norm.weight"):
            drawn = 1 + 0.3 * drawn
        elif value.ndim == 1:
            drawn = 0.3 * drawn
        elif "embed" not in name:
            drawn = 3 / value.shape[-1] ** 0.5 * drawn
        value.data.copy_(drawn.to(torch.bfloat16).to(torch.float32))
    model.tie_weights()


def compute_logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens[None]).logits[0].to(torch.float32)


def change(fields, changes):
    changed = copy.deepcopy(fields)
    changed.get("text_config", changed).update(changes)
    return changed


def make_family(folder, name, seed):
    fields, without, options = FAMILIES[name]
    untie = options.get("untie", False)
    model = make_model(fields, untie)
    draw_weights(model, seed)
    vocab = model.get_input_embeddings().weight.shape[0]
    # Below the ids of images.
    tokens = torch.randint(11, min(vocab, 60), (NUM_TOKENS,), generator=torch.Generator().manual_seed(seed))
    logits = compute_logits(model, tokens)

    other = make_model(change(fields, without), untie)
    other.load_state_dict(model.state_dict())
    difference = ((compute_logits(other, tokens) - logits).abs().max() / logits.abs().max()).item()
    if not difference > SEEN:
        raise SystemExit(f"{name}: {without} changes the logits by {difference:.2e} only")

    saved = folder / "saved"
    half = (model.model if options.get("save") else model).to(torch.bfloat16)
    half.save_pretrained(saved)
    # What was written gives the same again.
    again = type(model).from_pretrained(saved, dtype=torch.float32, attn_implementation="eager").eval()
    if options.get("save") or untie:
        again.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.to(torch.float32))
    torch.testing.assert_close(compute_logits(again, tokens), logits, rtol=0, atol=0)

    (folder / "config.json").write_text(json.dumps(fields, indent=1) + "\n")
    (saved / "config.json").rename(folder / "config-saved.json")
    (saved / "model.safetensors").rename(folder / "model.safetensors")
    shutil.rmtree(saved)
    save_file({"tokens": tokens.to(torch.int32), "logits": logits.contiguous()}, folder / "expected.safetensors")
    names = sorted(load_file(folder / "model.safetensors"))
    return {"seed": seed, "without": without, "difference": float(f"{difference:.3g}"), "tensors": len(names)}


def main(target):
    made = {}
    for seed, name in enumerate(FAMILIES, 1):
        folder = target / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        made[name] = make_family(folder, name, seed)
        print(name, made[name])
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    (target / "families.json").write_text(json.dumps({**versions, "families": made}, indent=1) + "\n")


main(Path(sys.argv[1]))
