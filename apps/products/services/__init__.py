"""The products service in this process."""

from apps.products.interface import ProductService
from apps.products.services.catalogue import Catalogue
from apps.products.services.categories import Categories
from apps.products.services.inventory import Inventory
from apps.products.services.listing import Listing
from apps.products.services.pictures import Pictures
from apps.products.services.reserving import Reserving


class LocalProductService(Catalogue, Listing, Categories, Reserving, Inventory, Pictures, ProductService):
    """Catalogue, pictures and inventory on this process' own database."""
