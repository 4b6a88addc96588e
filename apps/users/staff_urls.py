"""Staff pages that belong to no table."""

from django.contrib import admin
from django.urls import path

from apps.users.staff_pages import PAGE, second_factor_page

urlpatterns = [path("", admin.site.admin_view(second_factor_page), name=PAGE)]
