"""`make chaos`: the state machine for longer, then disturbances under load, both from a seed that is printed."""

import os
import secrets
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path

from tests.chaos.campaign import Plan, carry_out


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many disturbances")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="the same again")
    parser.add_argument("--on", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--broker", choices=["redis", "rabbitmq", "none"], default="redis")
    parser.add_argument("--examples", type=int, default=200, help="of the state machine; 0 leaves it out")
    parser.add_argument("--only", action="append", default=[], help="a disturbance by its name, instead of drawn ones")
    options = parser.parse_args()
    plan = Plan(options.kills, options.seed, options.on, options.broker, options.only)
    print(f"seed {plan.seed}", flush=True)
    if options.examples and _run_state_machine(options.examples, plan.seed):
        return 1
    with tempfile.TemporaryDirectory(prefix="cartwright-chaos-", ignore_cleanup_errors=True) as folder:
        report = carry_out(plan, Path(folder))
    print(report)
    return 1 if report.violations else 0


def _run_state_machine(examples: int, seed: int) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "tests/chaos/test_state_machine.py", f"--hypothesis-seed={seed}"]
    return subprocess.call(command, env={**os.environ, "EXAMPLES": str(examples)})


if __name__ == "__main__":
    sys.exit(main())
