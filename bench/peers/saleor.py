"""Saleor, which runs already (docs/peers.md says how), driven by its GraphQL API.

An order is a checkout that is completed: one call makes it, with lines and address, and one completes it. The channel
is told to take unpaid orders, so that no payment is in either shop's time.
"""

import os
from collections.abc import Sequence
from typing import Any

from bench.peers.scenario import MOST_BUYERS, Peer, Session, wanted

_CHANNEL = "default-channel"
_SHORT = {"INSUFFICIENT_STOCK"}
_LOG_IN = """mutation ($email: String!, $password: String!) {
  tokenCreate(email: $email, password: $password) { token errors { field message } } }"""
_SETUP = """{ channel(slug: "default-channel") { id currencyCode }
  warehouses(first: 1) { edges { node { id } } } categories(first: 1) { edges { node { id } } } }"""
_UNPAID = """mutation ($id: ID!) { channelUpdate(id: $id, input: {orderSettings: {allowUnpaidOrders: true}}) {
  channel { id } errors { field message } } }"""
_TYPE = """mutation { productTypeCreate(input: {name: "Lamp", hasVariants: false, isShippingRequired: false}) {
  productType { id } errors { field message } } }"""
_PRODUCT = """mutation ($type: ID!, $category: ID!) {
  productCreate(input: {name: "Lamp", productType: $type, category: $category}) {
    product { id } errors { field message } } }"""
_LIST = """mutation ($id: ID!, $channel: ID!) { productChannelListingUpdate(id: $id, input: {updateChannels: [
  {channelId: $channel, isPublished: true, isAvailableForPurchase: true, visibleInListings: true}]}) {
  product { id } errors { field message } } }"""
_VARIANT = """mutation ($product: ID!, $warehouse: ID!, $stock: Int!) { productVariantCreate(input: {product: $product,
  attributes: [], trackInventory: true, stocks: [{warehouse: $warehouse, quantity: $stock}]}) {
  productVariant { id } errors { field message } } }"""
_PRICE = """mutation ($id: ID!, $channel: ID!) {
  productVariantChannelListingUpdate(id: $id, input: [{channelId: $channel, price: 10}]) {
    variant { id } errors { field message } } }"""
_LOOK = """query ($id: ID!, $channel: String!) { productVariant(id: $id, channel: $channel) { id name sku
  quantityAvailable pricing { price { gross { amount currency } } } product { id name description } } }"""
_CHECKOUT = """mutation ($channel: String!, $lines: [CheckoutLineInput!]!, $email: String!, $address: AddressInput!) {
  checkoutCreate(input: {channel: $channel, lines: $lines, email: $email, billingAddress: $address}) {
    checkout { id } errors { field message code } } }"""
_COMPLETE = """mutation ($id: ID!) { checkoutComplete(id: $id) { order { id } errors { field message code } } }"""
_ADDRESS = {
    "firstName": "Ada",
    "lastName": "Buyer",
    "streetAddress1": "Somewhere 1",
    "city": "Wroclaw",
    "postalCode": "53-601",
    "country": "PL",
}


class Saleor(Peer):
    name = "Saleor"

    def __init__(self, url: str, email: str, products: int, stock: int) -> None:
        """Make products as staff, whose password is in SALEOR_PASSWORD."""
        self.url = url
        self._staff = Session(url)
        token = self._ask(self._staff, _LOG_IN, email=email, password=os.environ["SALEOR_PASSWORD"])["tokenCreate"]
        self._staff.headers["Authorization"] = f"Bearer {token['token']}"
        found = self._ask(self._staff, _SETUP)
        self._channel = found["channel"]["id"]
        self._warehouse = found["warehouses"]["edges"][0]["node"]["id"]
        self._category = found["categories"]["edges"][0]["node"]["id"]
        self._made(_UNPAID, id=self._channel)
        self._type = self._made(_TYPE)["productType"]["id"]
        self.products = [self._product(stock) for _ in range(products)]

    def log_in(self, number: int) -> Session:
        """A guest: Saleor's checkout needs an address of mail only."""
        session = Session(self.url)
        session.cookies["buyer"] = str(number % MOST_BUYERS)
        return session

    def look(self, session: Session, product: str) -> None:
        if self._ask(session, _LOOK, id=product, channel=_CHANNEL)["productVariant"] is None:
            raise RuntimeError(f"Saleor does not know {product}.")

    def order(self, session: Session, products: Sequence[str]) -> bool:
        lines = [{"variantId": product, "quantity": 1} for product in products]
        email = f"buyer{session.cookies['buyer']}@example.com"
        made = self._ask(session, _CHECKOUT, channel=_CHANNEL, lines=lines, email=email, address=_ADDRESS)
        if _is_short(made["checkoutCreate"]["errors"]):
            return False
        done = self._ask(session, _COMPLETE, id=made["checkoutCreate"]["checkout"]["id"])["checkoutComplete"]
        return not _is_short(done["errors"])

    def scarce(self) -> str:
        return self._product(1)

    def _product(self, stock: int) -> str:
        product = self._made(_PRODUCT, type=self._type, category=self._category)["product"]["id"]
        self._made(_LIST, id=product, channel=self._channel)
        made = self._made(_VARIANT, product=product, warehouse=self._warehouse, stock=stock)
        variant: str = made["productVariant"]["id"]
        self._made(_PRICE, id=variant, channel=self._channel)
        return variant

    def _made(self, mutation: str, **variables: object) -> dict[str, Any]:
        """What a mutation of the staff has made.

        Raises:
            RuntimeError: it was refused.
        """
        (answer,) = self._ask(self._staff, mutation, **variables).values()
        if answer["errors"]:
            raise RuntimeError(f"Saleor refuses: {answer['errors']}")
        made: dict[str, Any] = answer
        return made

    def _ask(self, session: Session, query: str, **variables: object) -> dict[str, Any]:
        answer = wanted(session.call("POST", "/graphql/", {"query": query, "variables": variables}), 200)
        if answer.get("errors"):
            raise RuntimeError(f"Saleor answers {str(answer['errors'])[:500]}")
        data: dict[str, Any] = answer["data"]
        return data


def _is_short(errors: Sequence[dict[str, Any]]) -> bool:
    """Whether stock is what is wanting.

    Raises:
        RuntimeError: something else is.
    """
    if other := [error for error in errors if error["code"] not in _SHORT]:
        raise RuntimeError(f"Saleor refuses an order: {other}")
    return bool(errors)
