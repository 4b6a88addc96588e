"""What the owner of an account is mailed: a link that verifies the address, or one that sets a new password.

The token in it is written when the mail is, so that it is in no event, and a mail that is late is not sent in vain.
"""

from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.utils import timezone

from apps.common import mail
from apps.common.databases import atomic
from apps.common.ids import earliest_id
from apps.events.envelope import Event
from apps.users import events, proofs
from apps.users.models import Activity, User, fold
from apps.users.proofs import Purpose

# What the log says of each mail. Customers see it there should somebody else ask for it.
_NOTES = {
    Purpose.VERIFY: ("user.verification_mailed", "A mail to verify the e-mail address was sent."),
    Purpose.RESET: ("user.reset_mailed", "A mail to set a new password was sent."),
}
_PURPOSES = {
    events.REGISTERED: Purpose.VERIFY,
    events.UPDATED: Purpose.VERIFY,
    events.VERIFICATION_REQUESTED: Purpose.VERIFY,
    events.RESET_REQUESTED: Purpose.RESET,
}


def write_to_owner(event: Event) -> None:
    """Send the mail that the event asks for, and note it in the account's log. Whoever has left, has verified the
    address already, was mailed often enough, or asked so long ago that it is no use any more, is not written to.
    """
    if event.type == events.UPDATED and not event.data.get("email_changed"):
        return
    purpose = _PURPOSES[event.type]
    user = _owner(event)
    if user is None or _is_in_vain(purpose, user, event) or _was_mailed_enough(purpose, user):
        return
    _compose(purpose, user, event.id).send()
    action, details = _NOTES[purpose]
    with atomic("users"):
        Activity.objects.create(user=user, action=action, details=details)


def _owner(event: Event) -> User | None:
    """Whose account the event is about; one that is closed has no owner."""
    active = User.objects.filter(active=True, erased_at=None)
    if event.type == events.RESET_REQUESTED:
        return active.filter(email_folded=fold(event.data["email"])).first()
    return active.filter(pk=UUID(event.data["user_id"])).first()


def _is_in_vain(purpose: Purpose, user: User, event: Event) -> bool:
    is_old = timezone.now() - event.timestamp > proofs.lifetime(purpose)
    return is_old or (purpose is Purpose.VERIFY and user.email_verified)


def _was_mailed_enough(purpose: Purpose, user: User) -> bool:
    """Whether somebody has the shop fill this mailbox."""
    action, _ = _NOTES[purpose]
    since = earliest_id(timezone.now() - timedelta(hours=1))
    mailed = Activity.objects.filter(user=user, pk__gte=since, action=action).count()
    return mailed >= settings.ACCOUNT_MAILS_AN_HOUR


def _compose(purpose: Purpose, user: User, message_id: UUID) -> EmailMultiAlternatives:
    pages = {Purpose.VERIFY: settings.EMAIL_VERIFY_PAGE, Purpose.RESET: settings.PASSWORD_RESET_PAGE}
    context = {
        "shop": mail.shop(),
        "name": mail.greeting(user.first_name),
        "link": pages[purpose].replace("{token}", proofs.write(purpose, user)),
        "ends_at": timezone.now() + proofs.lifetime(purpose),
    }
    return mail.compose(f"users/mail/{purpose}", context, to=user.email, message_id=message_id)
