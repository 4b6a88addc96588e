"""Addresses below `/shop/`."""

from django.urls import path

from apps.storefront.views import account, cart, catalogue, checkout, orders

app_name = "storefront"
urlpatterns = [
    path("", catalogue.home, name="home"),
    path("products", catalogue.products, name="products"),
    path("products/<uuid:product_id>", catalogue.product, name="product"),
    path("suggest", catalogue.suggest, name="suggest"),
    path("cart", cart.cart, name="cart"),
    path("cart/add", cart.add, name="cart-add"),
    path("cart/change", cart.change, name="cart-change"),
    path("checkout", checkout.checkout, name="checkout"),
    path("orders", orders.orders, name="orders"),
    path("orders/<uuid:order_id>", orders.order, name="order"),
    path("orders/<uuid:order_id>/pay", orders.pay, name="order-pay"),
    path("orders/<uuid:order_id>/cancel", orders.cancel, name="order-cancel"),
    path("register", account.register, name="register"),
    path("login", account.log_in, name="login"),
    path("logout", account.log_out, name="logout"),
    path("verify", account.verify, name="verify"),
    path("reset", account.reset, name="reset"),
]
