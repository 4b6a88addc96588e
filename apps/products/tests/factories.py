"""Made-up products and categories, made by the service as everybody makes them."""

from decimal import Decimal

from factory.base import DictFactory, Factory
from factory.declarations import Sequence

from apps.products.interface import Category, NewProduct, Product
from apps.products.services import LocalProductService


class NewProductFactory(Factory[NewProduct]):
    """A product to be made: 100 units at 10 USD."""

    class Meta:
        model = NewProduct

    name = Sequence(lambda n: f"Product {n}")
    price = Decimal("10.00")
    stock = 100


class NewCategoryFactory(DictFactory):
    """What a category at the top is made of."""

    name = Sequence(lambda n: f"Category {n}")


def make_product(**fields: object) -> Product:
    """A product; fields as in `NewProduct`."""
    return LocalProductService().create_product(new=NewProductFactory.build(**fields))


def make_category(**fields: object) -> Category:
    """A category; fields as in `create_category`."""
    return LocalProductService().create_category(**NewCategoryFactory.build(**fields))
