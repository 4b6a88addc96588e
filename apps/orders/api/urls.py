"""Addresses below `/api/v1/`."""

from django.urls import path

from apps.orders.api import quick, reports, stream, views

urlpatterns = [
    path("orders", quick.place(views.OrderListView.as_view()), name="orders"),
    path("orders/user/<uuid:user_id>", views.UserOrdersView.as_view(), name="user-orders"),
    path("orders/reports/sales", reports.SalesReportView.as_view(), name="sales-report"),
    path("orders/reports/products", reports.ProductReportView.as_view(), name="product-report"),
    path("orders/reports/status", reports.StatusReportView.as_view(), name="status-report"),
    path("orders/<uuid:order_id>", views.OrderView.as_view(), name="order"),
    path("orders/<uuid:order_id>/status", views.StatusView.as_view(), name="order-status"),
    path("orders/<uuid:order_id>/timeline", views.TimelineView.as_view(), name="order-timeline"),
    path("orders/<uuid:order_id>/events", stream.EventsView.as_view(), name="order-events"),
    path("orders/<uuid:order_id>/pay", views.PayView.as_view(), name="order-pay"),
    path("orders/<uuid:order_id>/cancel", views.CancelView.as_view(), name="order-cancel"),
    path("orders/<uuid:order_id>/ship", views.ShipView.as_view(), name="order-ship"),
    path("orders/<uuid:order_id>/deliver", views.DeliverView.as_view(), name="order-deliver"),
    path("orders/<uuid:order_id>/refund", views.RefundView.as_view(), name="order-refund"),
    path("orders/<uuid:order_id>/refunds", views.RefundListView.as_view(), name="order-refunds"),
    path("payments/webhooks/<slug:provider>", views.WebhookView.as_view(), name="payment-webhook"),
]
