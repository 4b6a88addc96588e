"""Accounts, log-ins and tokens."""

import base64
import json
from typing import Any

import jwt

from tests.blackbox.callers import AGENT, Answer, Caller
from tests.blackbox.matching import ANYTHING, COUNT, ID, JWT, SENTENCE, SOMETHING, TIME, Form, check, each, has, text
from tests.blackbox.stage import NOBODY, PASSWORD, Stage

_NEW = "correct horse 10"
_CLAIMS = {"token_type", "sub", "role", "sid", "jti", "iss", "aud", "iat", "exp"}
_TOKEN = "invalid_token"
ADDRESS = text("IP address", r"[0-9a-f.:]+")


def user_of(**fields: object) -> dict[str, Any]:
    """A user as the API shows one."""
    usual = {"first_name": "", "last_name": "", "phone": "", "address": "", "role": "user", "active": True}
    return {**usual, "id": ID, "email_verified": False, "created_at": TIME, "updated_at": TIME, **fields}


def pair_of(user: dict[str, Any] | Form) -> dict[str, object]:
    """What logging in answers."""
    return {"access": JWT, "refresh": JWT, "token_type": "Bearer", "expires_in": 900, "user": user}


def opening_an_account(stage: Stage) -> None:
    name = stage.name("ada")
    given = {"username": name, "email": f"{name}@example.com", "first_name": "Ada", "phone": "+44 20 7946 0000"}
    stage.guest.post("users/register", {**given, "password": PASSWORD}).said(201, user_of(**given))
    second = {**given, "username": f"{name}b", "email": f"{name}b@example.com", "password": PASSWORD}
    stage.guest.post("users", second).said(201)
    again = {**given, "password": PASSWORD}
    stage.guest.post("users/register", {**again, "username": stage.name("x")}).refused(409, "email_taken", "email")
    upper = {**again, "email": f"{stage.name('x')}@example.com", "username": name.upper()}
    stage.guest.post("users", upper).refused(409, "username_taken", "username")


def accounts_that_are_refused(stage: Stage) -> None:
    name = stage.name("ada")
    given = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    register = stage.guest.post("users/register", {})
    register.refused_for(400, [("required", "username"), ("required", "email"), ("required", "password")])
    stage.guest.post("users/register", {**given, "email": "nobody"}).refused(400, "invalid", "email")
    stage.guest.post("users/register", {**given, "password": "short"}).refused(400, "weak_password", "password")
    stage.guest.post("users/register", {**given, "password": name}).refused(400, "weak_password", "password")
    stage.guest.post("users/register", {**given, "role": "admin"}).refused(400, "unknown_field", "role")
    stage.guest.post("users/register", {**given, "username": "a@b"}).refused(400, "invalid_username", "username")


def logging_in(stage: Stage) -> None:
    account = stage.account("newcomer")
    by_email = {"email": account["email"].upper(), "password": PASSWORD}
    answer = stage.guest.post("users/login", by_email).said(200, pair_of(account))
    stage.guest.post("users/login", {"username": account["username"], "password": PASSWORD}).said(200)
    for wrong in ({**by_email, "password": "wrong"}, {"email": "nobody@example.com", "password": PASSWORD}):
        stage.guest.post("users/login", wrong).refused(401, "wrong_credentials")
    stage.guest.post("users/login", {"password": PASSWORD}).refused(400, "invalid", "non_field_errors")
    _tokens_are_signed_with_a_published_key(stage, answer["access"], account)


def _tokens_are_signed_with_a_published_key(stage: Stage, token: str, account: dict[str, Any]) -> None:
    key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": SOMETHING, "n": SOMETHING, "e": "AQAB"}
    published = stage.guest.get("/.well-known/jwks.json", is_noted=False)
    published.said(200, {"keys": each(key)}, content_type="application/json")
    published.noted({"keys": published["keys"][0]})
    signed_with = jwt.PyJWKSet.from_dict(published.body)[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, signed_with.key, algorithms=["RS256"], audience="cartwright", issuer="cartwright")
    check(_CLAIMS, set(claims), "the claims")
    check((account["id"], "user", 900), (claims["sub"], claims["role"], claims["exp"] - claims["iat"]), "the claims")


def a_token_of_somebody_elses(stage: Stage) -> None:
    """Not signed by us, cut short, of the wrong kind, or no token at all."""
    head, claims, signature = stage.customer.pair["access"].split(".")
    payload = json.loads(base64.urlsafe_b64decode(claims + "=="))
    promoted = base64.urlsafe_b64encode(json.dumps({**payload, "role": "admin"}).encode()).rstrip(b"=").decode()
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    tokens = {
        "garbage": "garbage",
        "promoted": f"{head}.{promoted}.{signature}",
        "unsigned": f"{unsigned}.{promoted}.",
        "refresh": stage.customer.pair["refresh"],
        "empty": "",
    }
    for name, token in tokens.items():
        # A gateway may refuse what is for staff only for the role, which a refresh token has not.
        for_staff = () if name == "refresh" else ("products/export", "webhooks/endpoints")
        for path in ("users/profile", "orders", "products", *for_staff):
            stage.caller(name, token).get(path).refused(401, _TOKEN)


def logging_out_works_at_once_and_everywhere(stage: Stage) -> None:
    for method in ("DELETE", "POST"):
        person = stage.newcomer()
        _may_ask(person)
        person.send(method, "users/logout").said(204, None)
        _may_not_ask(person)
        refresh = {"refresh": person.pair["refresh"]}
        stage.guest.post("users/token/refresh", refresh).refused(401, _TOKEN)


def _may_ask(person: Caller) -> None:
    person.get("users/profile").said(200)
    person.get("products/export").refused(403, "permission_denied")
    person.get("orders").said(200)
    person.get("webhooks/endpoints").refused(403, "permission_denied")


def _may_not_ask(person: Caller) -> None:
    # Not what is for staff only: a gateway refuses that for the role, before anybody asks for the session.
    for path in ("users/profile", "orders", "products", "categories"):
        person.get(path).refused(401, _TOKEN)


def exchanging_a_refresh_token(stage: Stage) -> None:
    person = stage.newcomer()
    first = {"refresh": person.pair["refresh"]}
    second = stage.guest.post("users/token/refresh", first).said(200, pair_of(person.user))
    fresh = stage.caller("newcomer, refreshed", second["access"])
    fresh.get("users/profile").said(200)
    stage.guest.post("users/token/refresh", first).refused(401, _TOKEN)
    # Somebody else may have it, so the whole session has ended.
    _may_not_ask(fresh)
    _may_not_ask(person)
    stage.guest.post("users/token/refresh", {"refresh": second["refresh"]}).refused(401, _TOKEN)
    stage.guest.post("users/token/refresh", {"refresh": "garbage"}).refused(401, _TOKEN)
    stage.guest.post("users/token/refresh", {"refresh": second["access"]}).refused(401, _TOKEN)
    stage.guest.post("users/token/refresh", {}).refused(400, "required", "refresh")


def sessions_are_listed_and_revoked(stage: Stage) -> None:
    here = stage.newcomer()
    there = stage.log_in("newcomer, elsewhere", here.user["email"])
    seen = {"id": ID, "address": ADDRESS, "agent": AGENT, "created_at": TIME, "last_used_at": TIME, "expires_at": TIME}
    seen["device"] = AGENT.partition(" ")[0]
    sessions = here.get("users/sessions").said(200, [{**seen, "current": False}, {**seen, "current": True}]).body
    stage.other.delete(f"users/sessions/{sessions[0]['id']}").refused(404, "session_not_found")
    here.delete(f"users/sessions/{sessions[0]['id']}").said(204, None)
    here.delete(f"users/sessions/{sessions[0]['id']}").refused(404, "session_not_found")
    _may_not_ask(there)
    here.get("users/sessions").said(200, [{**seen, "id": sessions[1]["id"], "current": True}])


def the_profile(stage: Stage) -> None:
    person = stage.newcomer()
    names = {"username": person.user["username"], "email": person.user["email"]}
    person.get("users/profile").said(200, user_of(**names, id=person.id))
    changed = person.patch("users/profile", {"first_name": "Grace", "address": "1 Road\nTown"})
    changed.said(200, user_of(**names, id=person.id, first_name="Grace", address="1 Road\nTown"))
    person.put("users/profile", {**names, "phone": "123"}).said(200, user_of(**names, id=person.id, phone="123"))
    person.put("users/profile", {"phone": "1"}).refused_for(400, [("required", "username"), ("required", "email")])
    person.patch("users/profile", {"role": "admin"}).refused(400, "unknown_field", "role")
    person.patch("users/profile", {"first_name": "a\nb"}).refused(400, "control_characters", "first_name")
    person.patch("users/profile", {"email": stage.other.user["email"]}).refused(409, "email_taken", "email")
    taken = {"username": stage.other.user["username"].upper()}
    person.patch("users/profile", taken).refused(409, "username_taken", "username")
    person.get("users/profile").said(200, user_of(**names, id=person.id, phone="123"))


def changing_the_password(stage: Stage) -> None:
    here = stage.newcomer()
    there = stage.log_in("newcomer, elsewhere", here.user["email"])
    path = "users/password/change"
    here.post(path, {"old_password": "wrong", "new_password": _NEW}).refused(401, "wrong_credentials", "old_password")
    weak = here.post(path, {"old_password": PASSWORD, "new_password": "short"})
    weak.refused(400, "weak_password", ANYTHING)
    here.post(path, {}).refused_for(400, [("required", "old_password"), ("required", "new_password")])
    _may_ask(there)
    here.post(path, {"old_password": PASSWORD, "new_password": _NEW}).said(204, None)
    _may_ask(here)
    _may_not_ask(there)
    old = {"email": here.user["email"], "password": PASSWORD}
    stage.guest.post("users/login", old).refused(401, "wrong_credentials")
    stage.guest.post("users/login", {**old, "password": _NEW}).said(200)


def an_admin_gives_and_takes_roles(stage: Stage) -> None:
    person = stage.newcomer()
    path = f"users/{person.id}"
    names = {"username": person.user["username"], "email": person.user["email"]}
    person.get("products/export").refused(403, "permission_denied")
    stage.admin.patch(path, {"role": "catalog_staff"}).said(200, user_of(**names, id=person.id, role="catalog_staff"))
    _may_not_ask(person)  # tokens carry the role
    staff = stage.log_in("newcomer, promoted", person.user["email"])
    staff.get("products/export", is_noted=False).said(200)
    stage.admin.patch(path, {"active": False}).said(200, has(active=False, role="catalog_staff"))
    _may_not_ask(staff)
    again = {"email": person.user["email"], "password": PASSWORD}
    stage.guest.post("users/login", again).refused(401, "wrong_credentials")
    stage.admin.patch(path, {"active": True, "role": "user"}).said(200, has(active=True, role="user"))
    stage.guest.post("users/login", again).said(200)
    stage.admin.patch(path, {"role": "king"}).refused(400, "invalid_choice", "role")
    stage.admin.patch(f"users/{stage.admin.id}", {"role": "user"}).refused(409, "own_role")
    stage.admin.patch(f"users/{NOBODY}", {"role": "user"}).refused(404, "user_not_found")


def reading_accounts(stage: Stage) -> None:
    path = f"users/{stage.customer.id}"
    for caller in (stage.customer, stage.catalog, stage.clerk, stage.admin):
        caller.get(path).said(200, stage.customer.user)
    stage.other.get(path).refused(404, "user_not_found")
    stage.admin.get(f"users/{NOBODY}").refused(404, "user_not_found")
    stage.admin.get("users/nobody").refused(404, "not_found")
    page = stage.admin.get("users?page_size=2", is_noted=False)
    user = user_of(**dict.fromkeys(user_of(), ANYTHING))
    page.said(200, {"count": COUNT, "next": SOMETHING, "previous": None, "results": [has(**user), has(**user)]})
    page.noted([sorted(user) for user in page["results"]])
    found = stage.admin.get(f"users?search={stage.customer.user['email']}")
    found.said(200, {"count": 1, "next": None, "previous": None, "results": [stage.customer.user]})


def what_happened_to_an_account(stage: Stage) -> None:
    """Log-ins at once; what events tell of, a moment later, and so in no certain order."""
    person = stage.newcomer()
    person.patch("users/profile", {"first_name": "Grace"}).said(200)
    line = {"id": ID, "details": SENTENCE, "happened_at": TIME}
    actions = ["user.logged_in", "user.registered", "user.updated", "user.verification_mailed"]

    def ask() -> Answer:
        return person.get("users/activity", is_noted=False)

    told = stage.eventually(ask, lambda answer: len(answer["results"]) == len(actions), is_noted=False)
    log = sorted(told["results"], key=lambda entry: str(entry["action"]))
    check([{**line, "action": action} for action in actions], log, "the activity log")
    told.said(200, {"next": None, "previous": None, "results": ANYTHING}).noted(log)
    for staff in (stage.clerk, stage.catalog, stage.admin):
        staff.get(f"users/activity?user={person.id}", is_noted=False).said(200, told.body)
    stage.other.get(f"users/activity?user={person.id}").refused(403, "permission_denied")
    stage.admin.get("users/activity?user=nobody").refused(400, "invalid")
    first = person.get("users/activity?page_size=2", is_noted=False)
    first.said(200, {"next": SOMETHING, "previous": None, "results": told["results"][:2]})
    rest = person.get(first["next"].partition("/api/v1/")[2], is_noted=False)
    rest.said(200, {"next": None, "previous": SOMETHING, "results": told["results"][2:]})


SCENARIOS = (
    opening_an_account,
    accounts_that_are_refused,
    logging_in,
    a_token_of_somebody_elses,
    logging_out_works_at_once_and_everywhere,
    exchanging_a_refresh_token,
    sessions_are_listed_and_revoked,
    the_profile,
    changing_the_password,
    an_admin_gives_and_takes_roles,
    reading_accounts,
    what_happened_to_an_account,
)
