from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class EventsConfig(AppConfig):
    name = "apps.events"

    def ready(self) -> None:
        # Without a broker a task runs in the process that sends it, which must know it.
        autodiscover_modules("tasks")
