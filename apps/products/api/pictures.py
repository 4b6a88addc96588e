"""The pictures of products over REST."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.common.api.parsers import StrictJSONParser
from apps.common.api.permissions import IsCatalogStaff
from apps.common.api.schema import refusal
from apps.common.errors import InvalidInput, Problem
from apps.products.api import examples
from apps.products.api.representation import here_of, image_body
from apps.products.api.serializers import ArrangementInput, ImageChangeInput, ImageInput, ImageSchema
from apps.products.interface import ImagePlace
from config import services


class TooManyFiles(InvalidInput):
    """A request brings one picture."""

    code = "too_many_files"


class ImagesView(APIView):
    """The pictures of a product, in their order."""

    permission_classes = (IsCatalogStaff,)
    parser_classes = (MultiPartParser, StrictJSONParser)

    @extend_schema(
        tags=["pictures"],
        summary="Add a picture",
        description="JPEG, PNG, WebP, GIF or AVIF, by its content; at most 40 megapixels. It is turned upright, and "
        "kept without what the camera noted. It comes last.",
        request={"multipart/form-data": ImageInput},
        responses={201: ImageSchema, 409: refusal("too_many_pictures"), 413: refusal("request_too_large")},
        examples=[examples.IMAGE],
    )
    def post(self, request: Request, product_id: UUID) -> Response:
        if len(request.FILES.getlist("image")) > 1:
            raise TooManyFiles(Problem("Send one picture at a time.", attr="image"))
        data = ImageInput.read(request)
        with data["image"] as file:
            image = services.products().add_image(product_id=product_id, content=file.read(), alt=data["alt"])
        return Response(image_body(image, here_of(request)), status=status.HTTP_201_CREATED)

    @extend_schema(
        tags=["pictures"],
        operation_id="products_images_arrange",
        summary="Arrange a product's pictures",
        description="Names each picture once, in the new order.",
        request={"application/json": ArrangementInput},
        responses=ImageSchema(many=True),
        examples=[examples.ARRANGEMENT, examples.IMAGE],
    )
    def patch(self, request: Request, product_id: UUID) -> Response:
        places = [ImagePlace(each["id"], each.get("alt")) for each in ArrangementInput.read(request)["images"]]
        images = services.products().arrange_images(product_id=product_id, places=places)
        return Response([image_body(image, here_of(request)) for image in images])


class ImageView(APIView):
    """One picture of a product."""

    permission_classes = (IsCatalogStaff,)

    @extend_schema(
        tags=["pictures"],
        operation_id="products_images_describe",
        summary="Describe a picture",
        request=ImageChangeInput,
        responses=ImageSchema,
        examples=[examples.IMAGE],
    )
    def patch(self, request: Request, product_id: UUID, image_id: UUID) -> Response:
        alt = ImageChangeInput.read(request)["alt"]
        image = services.products().describe_image(product_id=product_id, image_id=image_id, alt=alt)
        return Response(image_body(image, here_of(request)))

    @extend_schema(tags=["pictures"], summary="Delete a picture", responses={204: None})
    def delete(self, request: Request, product_id: UUID, image_id: UUID) -> Response:
        services.products().delete_image(product_id=product_id, image_id=image_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
