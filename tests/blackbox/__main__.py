"""`python -m tests.blackbox http://localhost:8080 --admin EMAIL:PASSWORD`: the whole REST API of a running shop."""

import sys
from argparse import ArgumentParser, Namespace

import requests

from tests.blackbox.matching import Mismatch
from tests.blackbox.suite import SCENARIOS, run
from tests.blackbox.target import Target
from tests.blackbox.transcript import Outcome


def main() -> int:
    options = _options()
    email, _, password = options.admin.partition(":")
    chosen = [each for each in SCENARIOS if options.only in each.__name__.replace("_", " ")]
    try:
        transcript = run(_target(options), email=email, password=password, scenarios=chosen, tell=_print)
    except (Mismatch, requests.RequestException) as trouble:
        print(f"There is no beginning: {trouble}", file=sys.stderr)
        return 1
    if options.transcript:
        lines = [line for each in transcript.outcomes for exchange in each.exchanges for line in exchange.lines()]
        with open(options.transcript, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write("\n".join(lines) + "\n")
    return 1 if transcript.failures else 0


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.blackbox", description=__doc__)
    parser.add_argument("url", nargs="?", help="where everything is")
    parser.add_argument("--users", help="where the users service is, if elsewhere")
    parser.add_argument("--products", help="where the products service is, if elsewhere")
    parser.add_argument("--orders", help="where the orders service is, if elsewhere")
    parser.add_argument("--admin", required=True, metavar="EMAIL:PASSWORD")
    parser.add_argument("--origin", help="one of the shop's CORS_ALLOWED_ORIGINS")
    parser.add_argument("--only", default="", metavar="TEXT", help="only scenarios with this in their name")
    parser.add_argument("--transcript", metavar="FILE", help="write down what was said")
    options = parser.parse_args()
    if not options.url and not (options.users and options.products and options.orders):
        parser.error("give one address for everything, or --users, --products and --orders")
    return options


def _target(options: Namespace) -> Target:
    services = {name: (getattr(options, name) or options.url).rstrip("/") for name in ("users", "products", "orders")}
    return Target(**services, pages=options.url.rstrip("/") if options.url else None, origin=options.origin)


def _print(outcome: Outcome) -> None:
    reason = outcome.error or outcome.left_out
    print(f"{outcome.verdict:<9} {outcome.seconds:5.1f} s  {outcome.name}{': ' + reason if reason else ''}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
