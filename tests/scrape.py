"""What `/metrics` says, for tests that compare figures."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True)
class Sample:
    """One line."""

    name: str
    labels: Mapping[str, str]
    value: float


class Scrape:
    """Every line of one or several answers."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.samples: list[Sample] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Another process' answer."""
        # The parser gives every counter a name that ends in `_total`, which Envoy's do not.
        written = set(re.findall(r"^(\w+)[ {]", text, re.MULTILINE))
        self.samples += [
            Sample(
                sample.name if sample.name in written else sample.name.removesuffix("_total"),
                sample.labels,
                sample.value,
            )
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}

    def of(self, name: str, **labels: str) -> list[Sample]:
        """The lines of a metric that have these labels."""
        return [each for each in self.samples if each.name == name and labels.items() <= each.labels.items()]

    def value(self, name: str, **labels: str) -> float:
        """Their sum.

        Raises:
            AssertionError: there is none.
        """
        found = self.of(name, **labels)
        assert found, f"There is no {name} with {labels}."
        return sum(each.value for each in found)


def scrape(*urls: str) -> Scrape:
    """What these processes say now."""
    answers = [requests.get(f"{url}/metrics", timeout=30) for url in urls]
    assert [answer.status_code for answer in answers] == [200] * len(urls)
    return Scrape(answer.text for answer in answers)
