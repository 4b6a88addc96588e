from django.apps import AppConfig


class ProductsConfig(AppConfig):
    name = "apps.products"

    def ready(self) -> None:
        from apps.products import checks  # noqa: F401, PLC0415 - registers them, once models can be imported
