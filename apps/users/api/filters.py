"""Which users an admin asks for."""

from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from apps.users.interface import Role
from apps.users.models import User, fold


class UserFilter(filters.FilterSet):
    """`?role= &active= &search= &ordering=`; `search` finds a part of any name or of the e-mail address."""

    role = filters.ChoiceFilter(choices=[(role.value, role.value) for role in Role])
    active = filters.TypedChoiceFilter(
        choices=[("true", "true"), ("false", "false")], coerce=lambda text: text == "true"
    )
    search = filters.CharFilter(method="find", max_length=254)
    # Ids are in the order of creation. Each of these is unique, so that pages do not overlap.
    ordering = filters.OrderingFilter(
        fields=[("id", "created_at"), ("username_folded", "username"), ("email_folded", "email")]
    )

    class Meta:
        model = User
        fields: list[str] = []

    def find(self, users: QuerySet[User], name: str, text: str) -> QuerySet[User]:
        folded = fold(text)
        names = Q(username_folded__contains=folded) | Q(email_folded__contains=folded)
        return users.filter(names | Q(first_name__icontains=text) | Q(last_name__icontains=text))
