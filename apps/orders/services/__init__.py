"""The orders service in this process."""

from apps.orders.interface import OrderService
from apps.orders.payments.provider import PaymentProvider
from apps.orders.services.changing import Changing
from apps.orders.services.fulfilling import Fulfilling
from apps.orders.services.placing import Placing
from apps.orders.services.reading import Reading
from apps.orders.services.settling import Settling
from apps.orders.services.watching import Hub, Watching
from apps.products.interface import ProductService


class LocalOrderService(Placing, Changing, Settling, Fulfilling, Reading, Watching, OrderService):
    """Orders on this process' own database, with the products service and a payment provider as collaborators."""

    def __init__(self, *, products: ProductService, payments: PaymentProvider) -> None:
        self._products = products
        self._payments = payments
        self._hub = Hub()

    def settle_open_orders(self) -> int:
        return self._settle_payments() + self._settle_changes()
