"""Who may call what: every address and method of the API, for every kind of caller."""

from collections.abc import Iterator

# What is in braces belongs to `owner`; `other` is a customer too. "-" where nothing belongs to anybody in particular.
TABLE = """
method  path                               nobody  owner  other  catalog  orders  admin

GET     /                                     200    200      -      200     200    200
GET     /health                               200    200      -      200     200    200
GET     /ready                                200    200      -      200     200    200
GET     /api/schema/                          200    200      -      200     200    200
GET     /api/docs/                            200    200      -      200     200    200
GET     /.well-known/jwks.json                200    200      -      200     200    200

POST    users/register                        201    201      -      201     201    201
POST    users                                 201    201      -      201     201    201
GET     users                                 401    403      -      403     403    200
POST    users/login                           200    200      -      200     200    200
POST    users/token/refresh                   200    200    200      200     200    200
DELETE  users/logout                          401    204      -      204     204    204
POST    users/logout                          401    204      -      204     204    204
GET     users/profile                         401    200      -      200     200    200
PUT     users/profile                         401    200      -      200     200    200
PATCH   users/profile                         401    200      -      200     200    200
DELETE  users/profile                         401    400      -      400     400    400
GET     users/profile/export                  401    200      -      200     200    200
POST    users/email/verify                    400    400      -      400     400    400
POST    users/email/verify/request            401    202      -      202     202      -
GET     users/sessions                        401    200      -      200     200    200
DELETE  users/sessions/{session}              401    204    404      404     404    404
DELETE  users/sessions                        401    204      -      204     204    204
GET     users/activity                        401    200      -      200     200    200
GET     users/activity?user={user}            401    200    403      200     200    200
POST    users/password/change                 401    204      -      204     204    204
POST    users/password/reset                  202    202      -      202     202    202
POST    users/password/reset/confirm          400    400      -      400     400    400
GET     users/{user}                          401    200    404      200     200    200
PATCH   users/{user}                          401    403    403      403     403    200

GET     products                              200    200      -      200     200    200
POST    products                              401    403      -      201     403    201
POST    products/import                       401    403      -      200     403    200
GET     products/export                       401    403      -      200     403    200
GET     products/imports                      401    403      -      200     403    200
GET     products/imports/{import}             401    403      -      200     403    200
GET     products/imports/{import}/rows        401    403      -      200     403    200
GET     products/imports/{import}/errors      401    403      -      200     403    200
GET     products/search                       200    200      -      200     200    200
GET     products/suggest                      200    200      -      200     200    200
GET     products/popular                      200    200      -      200     200    200
GET     products/{product}                    200    200      -      200     200    200
GET     products/{product}/variants           200    200      -      200     200    200
PUT     products/{product}                    401    403      -      200     403    200
PATCH   products/{product}                    401    403      -      200     403    200
DELETE  products/{product}                    401    403      -      204     403    204
GET     products/{product}/stock              401    403      -      200     403    200
POST    products/{product}/stock/adjust       401    403      -      200     403    200
GET     products/{product}/stock/movements    401    403      -      200     403    200
POST    products/{product}/images             401    403      -      201     403    201
PATCH   products/{product}/images             401    403      -      200     403    200
PATCH   products/{pictured}/images/{picture}  401    403      -      200     403    200
DELETE  products/{pictured}/images/{picture}  401    403      -      204     403    204
GET     categories                            200    200      -      200     200    200
POST    categories                            401    403      -      201     403    201
GET     categories/{category}                 200    200      -      200     200    200
PUT     categories/{category}                 401    403      -      200     403    200
PATCH   categories/{category}                 401    403      -      200     403    200
DELETE  categories/{category}                 401    403      -      204     403    204

GET     orders                                401    200      -      200     200    200
POST    orders                                401    201      -      201     201    201
GET     orders/user/{user}                    401    200    404      404     200    200
GET     orders/reports/sales                  401    403      -      403     200    200
GET     orders/reports/products               401    403      -      403     200    200
GET     orders/reports/status                 401    403      -      403     200    200
GET     orders/{pending}                      401    200    404      404     200    200
PUT     orders/{pending}                      401    200    404      404     404    404
PATCH   orders/{pending}                      401    200    404      404     404    404
DELETE  orders/{pending}                      401    200    404      404     200    200
GET     orders/{pending}/status               401    200    404      404     200    200
GET     orders/{pending}/timeline             401    200    404      404     200    200
GET     orders/{pending}/events               401    200    404      404     200    200
POST    orders/{pending}/pay                  401    200    404      404     404    404
POST    orders/{pending}/cancel               401    200    404      404     200    200
POST    orders/{paid}/ship                    401    403    403      403     200    200
POST    orders/{shipped}/deliver              401    403    403      403     200    200
POST    orders/{paid}/refund                  401    403    403      403     200    200
GET     orders/{paid}/refunds                 401    200    404      404     200    200
POST    payments/webhooks/{provider}          400    400    -        400     400    400

GET     webhooks/endpoints  401 403 - 403 403 200
POST    webhooks/endpoints  401 403 - 403 403 201
GET     webhooks/endpoints/{endpoint}  401 403 - 403 403 200
PATCH   webhooks/endpoints/{endpoint}  401 403 - 403 403 200
DELETE  webhooks/endpoints/{endpoint}  401 403 - 403 403 204
POST    webhooks/endpoints/{endpoint}/rotate-secret  401 403 - 403 403 200
POST    webhooks/endpoints/{endpoint}/test  401 403 - 403 403 202
GET     webhooks/endpoints/{endpoint}/deliveries  401 403 - 403 403 200
POST    webhooks/endpoints/{endpoint}/deliveries/{delivery}/replay  401 403 - 403 403 202
"""


def rows() -> Iterator[tuple[str, str, str, int]]:
    """Method, path, caller and expected status of every cell."""
    (_, _, *callers), *lines = (line.split() for line in TABLE.splitlines() if line)
    for method, path, *statuses in lines:
        for caller, status in zip(callers, statuses, strict=True):
            if status != "-":
                yield method, path, caller, int(status)
