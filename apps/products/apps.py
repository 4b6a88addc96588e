from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProductsConfig(AppConfig):
    name = "apps.products"
    verbose_name = _("Catalogue")

    def ready(self) -> None:
        from apps.products import checks  # noqa: F401, PLC0415 - registers them, once models can be imported
