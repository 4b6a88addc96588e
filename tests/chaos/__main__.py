"""`make chaos`: at least twenty disturbances under load, drawn by a seed that is printed."""

import secrets
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
    parser.add_argument("--only", action="append", default=[], help="a disturbance by its name, instead of drawn ones")
    options = parser.parse_args()
    plan = Plan(options.kills, options.seed, options.on, options.broker, options.only)
    print(f"seed {plan.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cartwright-chaos-", ignore_cleanup_errors=True) as folder:
        report = carry_out(plan, Path(folder))
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
