"""Addresses below `/api/v1/`."""

from django.urls import path

from apps.products.api import views

urlpatterns = [
    path("products", views.ProductsView.as_view()),
    path("products/search", views.SearchView.as_view()),
    path("products/<uuid:product_id>", views.ProductView.as_view(), name="product"),
    path("products/<uuid:product_id>/stock", views.StockView.as_view()),
    path("products/<uuid:product_id>/stock/adjust", views.StockAdjustView.as_view()),
    path("products/<uuid:product_id>/stock/movements", views.StockMovementsView.as_view()),
    path("categories", views.CategoriesView.as_view()),
    path("categories/<uuid:category_id>", views.CategoryView.as_view(), name="category"),
]
