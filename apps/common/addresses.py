"""Where a request came from."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

# What somebody may get who gets addresses of IPv6: a network of this length, hardly ever one address.
_IPV6_PREFIX = 64


def client_address(request: HttpRequest | Request) -> str:
    """The client's address. `X-Forwarded-For` counts as far as proxies of ours have written it (`TRUSTED_PROXIES`)."""
    return BaseThrottle().get_ident(request) or ""  # type: ignore[arg-type]  # it reads headers, which both have


@lru_cache(maxsize=4096)
def around(address: str) -> str:
    """The network that an address is in, of 24 bits or, of IPv6, 48: enough to tell networks apart, and not people."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(IPv6Network((int(parsed), 48), strict=False))
        parsed = parsed.ipv4_mapped
    return str(IPv4Network((int(parsed), 24), strict=False))


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What a client is known by: an IPv4 address, the network of 64 bits around one of IPv6, else the text as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Network((int(parsed), _IPV6_PREFIX), strict=False))
    return str(parsed)
