"""A stand-in for a training script: a bowl in ln rate that falls with size and tokens.

    python training_script.py --lr LR --params N --tokens D --folder DIR [--hang-once ID] [--wait S]

With `--hang-once` the first attempt of that run writes its process id to `hangs` and sleeps.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("lr", "params", "tokens", "wait"):
    parser.add_argument(f"--{name}", type=float, default=0.0)
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--hang-once", default="")
given = parser.parse_args()

mark = given.folder / "hangs"
if given.folder.name == given.hang_once and not mark.exists():
    mark.with_suffix(".draft").write_text(str(os.getpid()))
    mark.with_suffix(".draft").replace(mark)
    time.sleep(60)
began_s = time.time()
time.sleep(given.wait)
size = 2 * (given.params / 1e9) ** -0.05 + (given.tokens / 2e10) ** -0.1
loss = size + 0.04 * math.log(given.lr / 2e-3) ** 2
times = {"began_s": began_s, "ended_s": time.time()}
(given.folder / "result.json").write_text(json.dumps({"loss": loss, **times}))
