"""The public keys, at the address where others look for them."""

from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.users import tokens


class JwksView(APIView):
    """The JWK set (RFC 7517) that verifies our tokens."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(tags=["users"], operation_id="jwks", summary="Public signing keys", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response(tokens.jwks(), headers={"Cache-Control": "public, max-age=300"})


urlpatterns = [path(".well-known/jwks.json", JwksView.as_view())]
