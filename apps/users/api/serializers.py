"""What comes in and what goes out."""

from uuid import UUID

from rest_framework import serializers
from rest_framework_dataclasses.serializers import DataclassSerializer

from apps.common.api.fields import LineField, TextField
from apps.common.api.serializers import InputSerializer
from apps.users.interface import Role, Session, TokenPair, User
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
    """Either `email` or `username`, and the password."""

    email = LineField(max_length=254, required=False)
    username = LineField(max_length=150, required=False)
    password = PasswordField()

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

    current = serializers.SerializerMethodField(help_text="Whether it is the session of this very request.")

    class Meta:
        dataclass = Session

    def get_current(self, session: Session) -> bool:
        current: UUID | None = self.context.get("session_id")
        return session.id == current


class ActivitySerializer(serializers.ModelSerializer[Activity]):
    """A line of the activity log."""

    class Meta:
        model = Activity
        fields = ["id", "action", "details", "happened_at"]
