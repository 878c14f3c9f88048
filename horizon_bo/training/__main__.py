"""`python -m horizon_bo.training --config RUN.json --out FOLDER`: one run in a process of its own.

Exit code 0 when the run ended, diverged or not; 2 with one line on stderr when it could not.
"""

import argparse
import gc
import sys
from pathlib import Path

#: Objects made before the collector looks for cycles: at Python's 700 it looks again and again
#: while PyTorch loads, a sixth of the time of a start.
_COLLECT_AFTER = 50_000


def main() -> int:
    """Read the command line, train, and print the final loss as the last line."""
    gc.set_threshold(_COLLECT_AFTER)
    import torch

    from horizon_bo.errors import HorizonBOError
    from horizon_bo.training.job import config_at, run_job

    parser = argparse.ArgumentParser(prog="python -m horizon_bo.training", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the run, a JSON object")
    parser.add_argument("--out", type=Path, required=True, help="folder for result and checkpoint")
    parser.add_argument("--text", nargs="*", default=[], help="files; none: the standard library")
    parser.add_argument("--averaging", default="none", help="whose final loss is the run's")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto")
    given = parser.parse_args()
    device = given.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        record = run_job(
            config_at(given.config),
            given.out,
            text=given.text,
            averaging=given.averaging,
            device=device,
        )
    except HorizonBOError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # noqa: T201
        return 2
    print("nan" if record["diverged"] else record["loss"])  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
