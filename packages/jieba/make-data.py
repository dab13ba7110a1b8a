"""Makes dictionary.txt.gz and hmm.json.gz from an installed jieba 0.42.1 (Debian: python3-jieba).

dictionary.txt: a line per word, `word frequency`, in jieba's order (its part-of-speech tags are left out).
hmm.json: {"start": {state: p}, "transition": {state: {state: p}}, "emission": {character: [B, E, M, S]}}, natural logarithms,
null where jieba lists none. Same input, same bytes.
"""
import gzip
import json
import pathlib

import jieba
from jieba.finalseg import prob_emit, prob_start, prob_trans

assert jieba.__version__ == "0.42.1", jieba.__version__
here = pathlib.Path(__file__).parent


def store(name, text):
    (here / name).write_bytes(gzip.compress(text.encode("utf-8"), 9, mtime=0))


lines = (pathlib.Path(jieba.__file__).parent / "dict.txt").read_text(encoding="utf-8").splitlines()
store("dictionary.txt.gz", "".join(" ".join(line.strip().split(" ")[:2]) + "\n" for line in lines if line.strip()))
emission = {}
for index, state in enumerate("BEMS"):
    for character, value in prob_emit.P[state].items():
        emission.setdefault(character, [None] * 4)[index] = value
model = {"start": prob_start.P, "transition": prob_trans.P, "emission": dict(sorted(emission.items()))}
store("hmm.json.gz", json.dumps(model, ensure_ascii=False, separators=(",", ":")))
