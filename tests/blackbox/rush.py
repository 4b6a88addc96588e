"""Many buyers at once of the last few units."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.blackbox.callers import Answer
from tests.blackbox.matching import check
from tests.blackbox.stage import Stage

BUYERS = 32
UNITS = 20


def rush(stage: Stage) -> None:
    """32 buyers at once for 20 units: 20 orders, 12 refusals, and not a unit more or less."""
    lamp = stage.product(stock=UNITS)
    people = (stage.customer, stage.other, stage.catalog, stage.clerk)
    callers = [stage.caller(f"buyer {number}", people[number % len(people)].pair["access"]) for number in range(BUYERS)]

    def buy(number: int) -> Answer:
        body = {"items": [{"product_id": lamp, "quantity": 1}]}
        return callers[number].post("orders", body, is_noted=False)

    with ThreadPoolExecutor(BUYERS) as pool:
        answers = list(pool.map(buy, range(BUYERS)))
    check({201: UNITS, 409: BUYERS - UNITS}, dict(Counter(answer.status for answer in answers)), "the rush")
    for answer in answers:
        if answer.status == 409:
            answer.refused(409, "out_of_stock", f"items.{lamp}")
    level = {"product_id": lamp, "on_hand": UNITS, "reserved": UNITS, "available": 0}
    stage.catalog.get(f"products/{lamp}/stock").said(200, level)
    _cancel(stage, [answer["id"] for answer in answers if answer.status == 201])
    level = {"product_id": lamp, "on_hand": UNITS, "reserved": 0, "available": UNITS}
    stage.eventually(lambda: stage.catalog.get(f"products/{lamp}/stock"), lambda answer: answer.body == level)


def _cancel(stage: Stage, order_ids: list[str]) -> None:
    """Every unit that was held comes back."""
    for order_id in order_ids:
        stage.clerk.delete(f"orders/{order_id}", is_noted=False).said(200)
