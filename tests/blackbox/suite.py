"""Playing every scenario."""

import time
from collections.abc import Callable, Iterator, Sequence

import requests

from tests.blackbox.matching import Mismatch
from tests.blackbox.scenarios import (
    access,
    accounts,
    catalogue,
    manners,
    money,
    orders,
    pages,
    stock,
    transfer,
    webhooks,
)
from tests.blackbox.stage import Stage
from tests.blackbox.target import NotAddressed, Target
from tests.blackbox.transcript import Outcome, Transcript

Scenario = Callable[[Stage], None]

SCENARIOS: Sequence[Scenario] = (
    *pages.SCENARIOS,
    *accounts.SCENARIOS,
    *catalogue.SCENARIOS,
    *stock.SCENARIOS,
    *transfer.SCENARIOS,
    *orders.SCENARIOS,
    *money.SCENARIOS,
    *webhooks.SCENARIOS,
    *manners.SCENARIOS,
    *access.SCENARIOS,
)


def run(
    target: Target,
    *,
    email: str,
    password: str,
    scenarios: Sequence[Scenario] = SCENARIOS,
    tell: Callable[[Outcome], None] = lambda _: None,
) -> Transcript:
    """Play the scenarios one after the other in the shop at `target`, with the help of one of its admins.

    Everything that they need they make, under names that nobody else has: a shop may have other data, and hear them
    again. `tell` hears of each as it ends.

    Raises:
        Mismatch: there is no beginning: nobody can log in.
    """
    stage = Stage(target, email=email, password=password)
    transcript = Transcript()
    for outcome in _play(stage, scenarios):
        tell(outcome)
        transcript.outcomes.append(outcome)
    return transcript


def _play(stage: Stage, scenarios: Sequence[Scenario]) -> Iterator[Outcome]:
    for scenario in scenarios:
        outcome = Outcome(scenario.__name__.replace("_", " "))
        stage.new_scene()
        start = time.monotonic()
        try:
            scenario(stage)
        except NotAddressed as path:
            outcome.left_out = f"only services are addressed, and {path} belongs to none"
        except Mismatch as mismatch:
            outcome.error = stage.notes.labels.in_text(str(mismatch))
        except (requests.RequestException, AssertionError, LookupError, ValueError, TypeError) as error:
            outcome.error = stage.notes.labels.in_text(f"{type(error).__name__}: {error}")
        outcome.exchanges = stage.notes.exchanges
        outcome.seconds = time.monotonic() - start
        yield outcome
