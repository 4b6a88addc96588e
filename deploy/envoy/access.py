"""Who may call what over REST, as far as a token's claims say: the gateway refuses the rest before a service is asked.

Each rule says what the service behind says too. An address that no rule has goes to its service, which knows whether it
exists; `tests/gateway/test_access.py` compares every call of the API with these rules.
"""

from dataclasses import dataclass

_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_READS = "GET|HEAD|OPTIONS"
_CATALOGUE = f"products(/(search|suggest|popular|{_UUID}(/variants)?))?|categories(/{_UUID})?"


@dataclass(frozen=True)
class Rule:
    """Calls and who may make them. Of several rules for a call the first counts, so later ones leave it out."""

    paths: str
    roles: tuple[str, ...] = ()
    methods: str = ""
    except_methods: str = ""
    is_public: bool = False

    @property
    def pattern(self) -> str:
        """A regular expression (RE2) of whole paths."""
        return f"/api/v1/({self.paths})"


_CATALOG_STAFF = ("catalog_staff", "admin")
_ORDER_STAFF = ("order_staff", "admin")
_ADMIN = ("admin",)

# Anybody opens an account, logs in or exchanges a refresh token, whatever token comes with it: no rule.
RULES = (
    Rule("users", roles=_ADMIN, except_methods="POST"),
    Rule(f"users/{_UUID}", roles=_ADMIN, methods="PATCH"),
    Rule(f"users/(logout|profile(/export)?|email/verify/request|sessions(/{_UUID})?|activity|password/change|{_UUID})"),
    # Anybody reads the catalogue; but a token that is no good is refused.
    Rule(_CATALOGUE, methods=_READS, is_public=True),
    Rule(_CATALOGUE, roles=_CATALOG_STAFF, except_methods=_READS),
    Rule(f"products/(export|import|imports(/{_UUID}(/(rows|errors))?)?)", roles=_CATALOG_STAFF),
    Rule(f"products/{_UUID}/(images(/{_UUID})?|stock(/(adjust|movements))?)", roles=_CATALOG_STAFF),
    Rule(f"orders/(reports/(sales|products|status)|{_UUID}/(ship|deliver|refund))", roles=_ORDER_STAFF),
    Rule(f"orders(/user/{_UUID}|/{_UUID}(/(status|timeline|events|pay|cancel|refunds))?)?"),
    Rule(
        f"webhooks/endpoints(/{_UUID}(/(rotate-secret|test|deliveries(/{_UUID}/replay)?))?)?",
        roles=_ADMIN,
    ),
)
