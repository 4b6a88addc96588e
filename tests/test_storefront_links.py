"""What links in mails lead to: the storefront's pages for confirming an address and for a new password."""

import re

import pytest
from django.core.mail import EmailMultiAlternatives
from django.test import Client

from apps.users.models import User
from apps.users.tests.factories import PASSWORD, UserFactory
from tests.flow import deliver_events
from tests.test_storefront import log_in, text

# Until accounts mail links.
pytestmark = pytest.mark.django_db
Mails = list[EmailMultiAlternatives]
NEW = "another horse 9"


def link(mails: Mails) -> str:
    """The page that the latest mail leads to."""
    found = re.search(r"https?://[^/]+(/shop/\S+)", str(mails[-1].body))
    assert found
    return found[1]


def test_an_address_is_confirmed_by_a_button(client: Client, mailoutbox: Mails) -> None:
    client.post("/shop/register", {"username": "ada", "email": "ada@example.com", "password": PASSWORD})
    deliver_events()
    address = link(mailoutbox)
    token = address.partition("token=")[2]

    # Whatever follows the link of itself confirms nothing.
    assert "One click, and we know" in text(client.get(address))
    assert not User.objects.get(username="ada").email_verified
    assert "Your e-mail address is confirmed." in text(client.post("/shop/verify", {"token": token}))
    assert User.objects.get(username="ada").email_verified
    again = client.post("/shop/verify", {"token": token})
    assert again.status_code in {200, 400}


def test_a_forgotten_password(client: Client, mailoutbox: Mails) -> None:
    user = UserFactory()

    known, unknown = (client.post("/shop/reset", {"email": email}) for email in (user.email, "nobody@example.com"))
    assert text(known) == text(unknown)
    deliver_events()
    token = link(mailoutbox).partition("token=")[2]
    assert "Choose a new password" in text(client.get(link(mailoutbox)))
    weak = client.post("/shop/reset", {"token": token, "password": "short"})
    changed = client.post("/shop/reset", {"token": token, "password": NEW}, follow=True)
    again = client.post("/shop/reset", {"token": token, "password": "a third horse 9"})

    assert (weak.status_code, "at least 8 characters" in text(weak)) == (400, True)
    assert "Your password is changed. Log in with the new one." in text(changed)
    assert (again.status_code, "This link is not valid any more." in text(again)) == (400, True)
    assert log_in(client, user.email).status_code == 400
    assert log_in(client, user.email, NEW).status_code == 302


@pytest.mark.parametrize("path", ["verify", "reset"])
def test_a_link_that_is_none(client: Client, path: str) -> None:
    page = client.post(f"/shop/{path}", {"token": "none", "password": NEW})

    assert (page.status_code, "This link is not valid any more." in text(page)) == (400, True)
