"""Addresses below `/api/v1/`."""

from django.urls import path

from apps.products.api import pictures, quick, transfer, views

urlpatterns = [
    path("products/<uuid:product_id>", quick.product(views.ProductView.as_view()), name="product"),
    path("products", quick.page(views.ProductsView.as_view())),
    path("products/search", quick.page(views.SearchView.as_view())),
    path("products/suggest", quick.page(views.SuggestView.as_view())),
    path("products/popular", quick.page(views.PopularView.as_view())),
    path("products/export", transfer.ExportView.as_view()),
    path("products/import", transfer.ImportView.as_view()),
    path("products/imports", transfer.ImportsView.as_view()),
    path("products/imports/<uuid:import_id>", transfer.ImportJobView.as_view(), name="import"),
    path("products/imports/<uuid:import_id>/rows", transfer.ImportRowsView.as_view()),
    path("products/imports/<uuid:import_id>/errors", transfer.ImportErrorsView.as_view()),
    path("products/<uuid:product_id>/variants", views.VariantsView.as_view()),
    path("products/<uuid:product_id>/images", pictures.ImagesView.as_view()),
    path("products/<uuid:product_id>/images/<uuid:image_id>", pictures.ImageView.as_view()),
    path("products/<uuid:product_id>/stock", views.StockView.as_view()),
    path("products/<uuid:product_id>/stock/adjust", views.StockAdjustView.as_view()),
    path("products/<uuid:product_id>/stock/movements", views.StockMovementsView.as_view()),
    path("categories", views.CategoriesView.as_view()),
    path("categories/<uuid:category_id>", views.CategoryView.as_view(), name="category"),
]
