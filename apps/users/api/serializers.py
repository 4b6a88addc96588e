"""What comes in and what goes out."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework_dataclasses.serializers import DataclassSerializer

from apps.common.api.fields import LineField, TextField
from apps.common.api.serializers import InputSerializer
from apps.users.devices import device_of
from apps.users.interface import Deed, Role, Session, TokenPair, User, UserData
from apps.users.models import Activity
from apps.users.passwords import MAX_LENGTH
from apps.users.validators import check_username


class PasswordField(serializers.CharField):
    """A password: every character counts, and none is ever sent back."""

    def __init__(self) -> None:
        super().__init__(max_length=MAX_LENGTH, trim_whitespace=False, write_only=True)


class ProfileInput(InputSerializer):
    """The parts of an account that its owner edits. PUT empties what it leaves out, PATCH leaves it alone."""

    username = LineField(max_length=150, validators=[check_username])
    email = serializers.EmailField(max_length=254)
    first_name = LineField(max_length=150, allow_blank=True, default="")
    last_name = LineField(max_length=150, allow_blank=True, default="")
    phone = LineField(max_length=32, allow_blank=True, default="")
    address = TextField(max_length=500, allow_blank=True, default="")


class RegisterInput(ProfileInput):
    """What opens an account."""

    password = PasswordField()


class LoginInput(InputSerializer):
    """Either `email` or `username`, and the password; a one-time code, if the account has a second factor."""

    email = LineField(max_length=254, required=False)
    username = LineField(max_length=150, required=False)
    password = PasswordField()
    otp = LineField(max_length=32, required=False, allow_blank=True, default="")

    def validate(self, attrs: dict[str, str]) -> dict[str, str]:
        if ("email" in attrs) == ("username" in attrs):
            raise serializers.ValidationError("Give either email or username.")
        return attrs


class RefreshInput(InputSerializer):
    """The refresh token to exchange."""

    refresh = serializers.CharField(max_length=4096)


class PasswordChangeInput(InputSerializer):
    """The password as it is and as it shall be."""

    old_password = PasswordField()
    new_password = PasswordField()


class TokenInput(InputSerializer):
    """The token that was mailed."""

    token = serializers.CharField(max_length=500)


class ResetRequestInput(InputSerializer):
    """Whose password is to be set anew."""

    email = LineField(max_length=254)


class ResetInput(TokenInput):
    """The token that was mailed, and the new password."""

    password = PasswordField()


class EraseInput(InputSerializer):
    """The password, so that nobody else erases the account."""

    password = PasswordField()


class ManageInput(InputSerializer):
    """What an admin decides of an account."""

    role = serializers.ChoiceField(choices=[(role.value, role.name) for role in Role], required=False)
    active = serializers.BooleanField(required=False)


class UserSerializer(DataclassSerializer[User]):
    """An account."""

    class Meta:
        dataclass = User


class TokenPairSerializer(DataclassSerializer[TokenPair]):
    """What a log-in gives."""

    token_type = serializers.SerializerMethodField()
    user = UserSerializer()

    class Meta:
        dataclass = TokenPair

    def get_token_type(self, pair: TokenPair) -> str:
        return "Bearer"


class SessionSerializer(DataclassSerializer[Session]):
    """A log-in on one device."""

    device = serializers.SerializerMethodField(help_text="What `agent` says, for people.")
    current = serializers.SerializerMethodField(help_text="Whether it is the session of this very request.")

    class Meta:
        dataclass = Session

    def get_device(self, session: Session) -> str:
        return device_of(session.agent)

    def get_current(self, session: Session) -> bool:
        current: UUID | None = self.context.get("session_id")
        return session.id == current


class DeedSerializer(DataclassSerializer[Deed]):
    """A line of the activity log."""

    class Meta:
        dataclass = Deed


class OrdersLinkSerializer(serializers.Serializer[Any]):
    """Where the orders are read, which are another service's: page by page, as `next` says."""

    href = serializers.CharField()


class UserDataSerializer(DataclassSerializer[UserData]):
    """All that is held about a user."""

    user = UserSerializer()
    sessions = SessionSerializer(many=True)
    activities = DeedSerializer(many=True)
    orders = serializers.SerializerMethodField()

    class Meta:
        dataclass = UserData

    @extend_schema_field(OrdersLinkSerializer)
    def get_orders(self, data: UserData) -> dict[str, str]:
        return {"href": self.context["orders"]}


class ActivitySerializer(serializers.ModelSerializer[Activity]):
    """A line of the activity log."""

    class Meta:
        model = Activity
        fields = ["id", "action", "details", "happened_at"]
