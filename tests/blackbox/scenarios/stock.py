"""What is on hand, what of it is held for orders, and the ledger."""

from typing import Any

from tests.blackbox.matching import ID, SOMETHING, TIME, has
from tests.blackbox.rush import rush
from tests.blackbox.stage import NOBODY, Stage


def level_of(key: str, on_hand: int, reserved: int) -> dict[str, Any]:
    """A stock level."""
    return {"product_id": key, "on_hand": on_hand, "reserved": reserved, "available": on_hand - reserved}


def movement_of(key: str, delta: int, kind: str, **fields: object) -> dict[str, Any]:
    """A line of the ledger."""
    about = {"reason": SOMETHING, "order_id": None, "actor_id": None, **fields}
    return {"id": ID, "product_id": key, "delta": delta, "kind": kind, "created_at": TIME, **about}


def adjusting_stock(stage: Stage) -> None:
    key = stage.product(stock=10)
    path, staff = f"products/{key}/stock", stage.catalog.id
    stage.catalog.get(path).said(200, level_of(key, 10, 0))
    adjust = f"{path}/adjust"
    stage.catalog.post(adjust, {"delta": 5, "reason": "delivery"}).said(200, level_of(key, 15, 0))
    stage.catalog.post(adjust, {"on_hand": 12, "reason": "count"}).said(200, level_of(key, 12, 0))
    stage.order((key, 4))
    stage.catalog.get(path).said(200, level_of(key, 12, 4))
    stage.catalog.post(adjust, {"delta": -9, "reason": "loss"}).refused(409, "stock_below_reserved")
    stage.catalog.post(adjust, {"on_hand": 3, "reason": "count"}).refused(409, "stock_below_reserved")
    stage.catalog.post(adjust, {"delta": -8, "reason": "loss"}).said(200, level_of(key, 4, 4))
    stage.guest.get(f"products/{key}").said(200, has(stock=0))
    ledger = stage.catalog.get(f"{path}/movements")
    by = {"actor_id": staff}
    lines = [
        movement_of(key, -8, "adjustment", reason="loss", **by),
        movement_of(key, -3, "adjustment", reason="count", **by),
        movement_of(key, 5, "adjustment", reason="delivery", **by),
        movement_of(key, 10, "adjustment", **by),
    ]
    ledger.said(200, {"next": None, "previous": None, "results": lines})
    _refused_adjustments(stage, adjust)


def _refused_adjustments(stage: Stage, adjust: str) -> None:
    wrong: tuple[tuple[dict[str, object], str, str], ...] = (
        ({"delta": 1}, "required", "reason"),
        ({"reason": "x"}, "invalid", "non_field_errors"),
        ({"delta": 1, "on_hand": 1, "reason": "x"}, "invalid", "non_field_errors"),
        ({"delta": 0, "reason": "x"}, "zero", "delta"),
        ({"delta": "many", "reason": "x"}, "invalid", "delta"),
        ({"on_hand": -1, "reason": "x"}, "min_value", "on_hand"),
    )
    for body, code, attr in wrong:
        stage.catalog.post(adjust, body).refused(400, code, attr)
    stage.catalog.post(adjust, {"delta": 10**9, "reason": "x"}).refused(409, "stock_limit")
    for path in ("stock", "stock/movements"):
        stage.catalog.get(f"products/{NOBODY}/{path}").refused(404, "product_not_found")
    nothing = stage.catalog.post(f"products/{NOBODY}/stock/adjust", {"delta": 1, "reason": "x"})
    nothing.refused(404, "product_not_found")


def a_paid_order_is_deducted_and_a_cancelled_one_comes_back(stage: Stage) -> None:
    key = stage.product(stock=10)
    path = f"products/{key}/stock"
    paid = stage.paid((key, 3))
    stage.eventually(lambda: stage.catalog.get(path), lambda answer: answer.body == level_of(key, 7, 0))
    pending = stage.order((key, 2))
    stage.catalog.get(path).said(200, level_of(key, 7, 2))
    stage.customer.delete(f"orders/{pending}").said(200)
    stage.eventually(lambda: stage.catalog.get(path), lambda answer: answer.body == level_of(key, 7, 0))
    stage.customer.delete(f"orders/{paid}").said(200)
    stage.eventually(lambda: stage.catalog.get(path), lambda answer: answer.body == level_of(key, 10, 0))
    lines = [
        movement_of(key, 3, "return", order_id=paid),
        movement_of(key, -3, "sale", order_id=paid),
        movement_of(key, 10, "adjustment", actor_id=stage.catalog.id),
    ]
    stage.catalog.get(f"{path}/movements").said(200, {"next": None, "previous": None, "results": lines})


SCENARIOS = (adjusting_stock, a_paid_order_is_deducted_and_a_cancelled_one_comes_back, rush)
