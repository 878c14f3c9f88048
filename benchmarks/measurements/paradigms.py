"""Paradigms: is a rate better named by a law of many small runs, or by one proxy and µP's rules?

    python -m benchmarks.measurements.paradigms --plan             # what would be trained
    python -m benchmarks.measurements.paradigms --minutes 9 --out FILE     # one GPU; goes on
    python -m benchmarks.measurements.paradigms --smoke --device cpu --out FILE   # a miniature
    python -m benchmarks.measurements.paradigms --table --out FILE         # prints what there is

Every stack trains in a process of its own, several at once, as small models leave a GPU waiting.
Dense models are compiled; one whose process fails is tried once more without. A finished stack is
one line of the file at once, and is not trained again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.problems.lines import whole_lines
from benchmarks.problems.paradigm_runs import FULL, SMOKE, Sizes, Stack, plan, planned
from horizon_bo.training.corpus import standard_library
from horizon_bo.training.loop import Outcome, train

RESULTS = Path(__file__).parents[1] / "results" / "paradigms.jsonl"
#: Processes at once on one GPU.
_WORKERS = 6
#: Of each process: threads that compile, and threads of its arithmetic on a CPU.
_THREADS = {"TORCHINDUCTOR_COMPILE_THREADS": "2", "OMP_NUM_THREADS": "1"}
#: Training tokens per run between words on progress.
_SAID_EVERY = 1 << 20


def trained(stack: Stack, device: str, eager: bool) -> dict[str, Any]:
    """Train a stack; its line. `eager` compiles nothing; models with experts never are."""
    torch.set_num_threads(1)
    text, began = standard_library(), time.perf_counter()
    said = 0

    def say(progress: Any) -> None:
        nonlocal said
        if progress["tokens"] - said >= _SAID_EVERY:
            said = progress["tokens"]
            share, seconds = said / progress["of"], time.perf_counter() - began
            print(f"  {stack.name} {share:.0%} {seconds:.0f} s", file=sys.stderr, flush=True)

    eager = eager or bool(stack.model.experts) or not device.startswith("cuda")
    with torch.compiler.set_stance("force_eager" if eager else "default"):
        outcome = train(stack.config, text, device=device, progress=say)
    return {
        "stack": stack.name,
        "log2_rates": stack.log2_rates,
        "seeds": stack.seeds,
        "losses": losses(stack, outcome),
        "config": stack.config.record(),
        "corpus": text.digest,
        "compiled": not eager,
        "seconds": round(time.perf_counter() - began, 1),
        "tokens_per_second": round(outcome.tokens_per_second),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "torch": torch.__version__,
    }


def losses(stack: Stack, outcome: Outcome) -> dict[str, list[list[float | None]]]:
    """Final losses by steps, then rate, then seed; `None` where a run diverged."""
    found = {}
    for steps in stack.steps:
        end = [r["loss"] for r in outcome.readings if (r["schedule"], r["steps"]) == ("wsd", steps)]
        width = len(stack.seeds)
        found[str(steps)] = [end[k : k + width] for k in range(0, len(end), width)]
    return found


def known(path: Path, sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Finished stacks of these sizes by name."""
    held = {json.dumps(line["config"], sort_keys=True): line for line in whole_lines(path)}
    return {
        stack.name: line
        for stack in plan(sizes)
        if (line := held.get(stack.config.as_json())) is not None
    }


class Crew:
    """Processes that train stacks, until their time is up.

    Args:
        path: Where lines go.
        device: Of all of them.
        given: Arguments that each gets besides.
        deadline: Clock at which what has not ended is given up.
    """

    def __init__(self, path: Path, device: str, given: Sequence[str], deadline: float) -> None:
        self.path, self.device, self.given, self.deadline = path, device, given, deadline

    def train(self, stack: Stack) -> None:
        """Train a stack and keep its line; once more without compiling where that failed."""
        for eager in ((), ("--eager",)):
            left = self.deadline - time.monotonic()
            if left <= 0:
                return
            try:
                made = self._process(stack, eager, left)
            except subprocess.TimeoutExpired:
                print(f"{stack.name}: out of time", flush=True)
                return
            if made.returncode == 0:
                self._keep(made.stdout)
                return
            print(f"{stack.name} {' '.join(eager)}: failed, {made.returncode}", flush=True)

    def _process(
        self, stack: Stack, eager: Sequence[str], left: float
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", __spec__.name, "--stack", stack.name, *self.given, *eager]
        return subprocess.run(
            [*command, "--device", self.device],
            stdout=subprocess.PIPE,
            text=True,
            timeout=left,
            check=False,
            env={**_THREADS, **os.environ},
        )

    def _keep(self, printed: str) -> None:
        line = printed.strip().splitlines()[-1]
        with self.path.open("a") as file:
            file.write(line + "\n")
        made = json.loads(line)
        print(
            f"{made['stack']}: {made['seconds']} s, {made['tokens_per_second']:,} tokens/s",
            flush=True,
        )


def go_on(sizes: Sizes, crew: Crew, workers: int) -> None:
    """Train what the file lacks, several at once, in the plan's order."""
    done = known(crew.path, sizes)
    missing = [stack for stack in plan(sizes) if stack.name not in done]
    crew.path.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(crew.train, missing))
    print(f"{len(known(crew.path, sizes))} of {len(plan(sizes))} stacks are done", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="finished stacks, a line each")
    parser.add_argument(
        "--minutes", type=float, default=1440.0, help="give up what runs after these"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=_WORKERS, help="processes at once")
    parser.add_argument("--smoke", action="store_true", help="a miniature, for a CPU")
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--plan", action="store_true", help="only print what would be trained")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    parser.add_argument("--stack", help="train this one here and print its line")
    given = parser.parse_args()
    sizes = SMOKE if given.smoke else FULL
    if given.stack:
        (stack,) = (stack for stack in plan(sizes) if stack.name == given.stack)
        print(json.dumps(trained(stack, given.device, given.eager)))
    elif given.table:
        # the tuner and its libraries, which a bare accelerator need not have
        from benchmarks.report.paradigms import table

        print(table(known(given.out, sizes), sizes))
    else:
        print(planned(sizes), flush=True)
        if not given.plan:
            passed = [f"--{name}" for name in ("smoke", "eager") if getattr(given, name)]
            deadline = time.monotonic() + 60 * given.minutes
            go_on(sizes, Crew(given.out, given.device, passed, deadline), given.workers)


if __name__ == "__main__":
    main()
