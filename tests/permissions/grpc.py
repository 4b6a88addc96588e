"""Who may call what over gRPC: every method, for people by their role and for service tokens by their scope."""

from collections.abc import Iterator
from dataclasses import dataclass

# "own": what is theirs, and nothing else is found. "-": PERMISSION_DENIED. A customer's token, and that of staff of the
# other trade, is refused a call that is marked so; without a token every call is UNAUTHENTICATED.
# `rest`: the call of REST that allows the same people the same.
TABLE = """
method                                scope           customer  catalog  orders  admin  rest

user/GetUser                          users:read      own       any      any     any    GET users/{user}
user/GetUserByEmail                   users:read      own       any      any     any
user/ValidateToken                    any             any       any      any     any
user/IdentifyCaller                   tokens:read     -         -        -       -
user/Register                         users:write     -         -        -       -
user/LogIn                            users:write     -         -        -       -
user/Refresh                          users:write     -         -        -       -
user/LogOut                           users:write     -         -        -       -
user/ListSessions                     users:read      -         -        -       -
user/EndOtherSessions                 users:write     -         -        -       -
user/UpdateProfile                    users:write     -         -        -       -
user/ChangePassword                   users:write     -         -        -       -
user/RequestVerification              users:write     -         -        -       -
user/VerifyEmail                      users:write     -         -        -       -
user/RequestPasswordReset             users:write     -         -        -       -
user/ResetPassword                    users:write     -         -        -       -
user/UnlockUser                       users:write     -         -        -       -
user/EraseUser                        users:write     -         -        -       -
user/ExportUser                       users:read      -         -        -       -
user/ManageUser                       users:write     -         -        -       -
user/RecordActivities                 users:write     -         -        -       -

product/GetProduct                    products:read   any       any      any     any    GET products/{product}
product/GetProductBySku               products:read   any       any      any     any
product/GetProducts                   products:read   any       any      any     any
product/ListProducts                  products:read   any       any      any     any    GET products
product/SearchProducts                products:read   any       any      any     any    GET products/search
product/CreateProduct                 products:write  -         any      -       any    POST products
product/UpdateProduct                 products:write  -         any      -       any    PATCH products/{product}
product/DeleteProduct                 products:write  -         any      -       any    DELETE products/{product}
product/AnnounceProducts              products:write  -         -        -       -
product/AddImage                      products:write  -         any      -       any    POST products/{product}/images
product/ArrangeImages                 products:write  -         any      -       any    PATCH products/{product}/images
product/DescribeImage                 products:write  -         any      -       any
product/DeleteImage                   products:write  -         any      -       any
product/CleanImages                   products:write  -         -        -       -
product/GetCategory                   products:read   any       any      any     any    GET categories/{category}
product/CreateCategory                products:write  -         any      -       any    POST categories
product/UpdateCategory                products:write  -         any      -       any    PATCH categories/{category}
product/DeleteCategory                products:write  -         any      -       any    DELETE categories/{category}
product/GetStock                      stock:write     -         any      -       any    GET products/{product}/stock
product/AdjustStock                   stock:write     -         any      -       any
product/ReserveStock                  stock:write     -         -        -       -
product/ReplaceReservation            stock:write     -         -        -       -
product/ExtendReservation             stock:write     -         -        -       -
product/CommitReservation             stock:write     -         -        -       -
product/ReleaseReservation            stock:write     -         -        -       -
product/SettleReservations            stock:write     -         -        -       -
product/ReleaseExpiredReservations    stock:write     -         -        -       -
product/ListReservations              stock:write     -         -        -       -
product/ListActiveReservations        stock:write     -         -        -       -

order/CreateOrder                     orders:write    own       own      own     own    POST orders
order/GetOrder                        orders:read     own       own      any     any    GET orders/{pending}
order/ListOrders                      orders:read     own       own      any     any    GET orders/user/{user}
order/GetOrderStatus                  orders:read     own       own      any     any    GET orders/{pending}/status
order/GetTimeline                     orders:read     own       own      any     any    GET orders/{pending}/timeline
order/WatchOrder                      orders:read     own       own      any     any    GET orders/{pending}/events
order/ChangeOrder                     orders:write    own       own      own     own    PATCH orders/{pending}
order/PayOrder                        orders:write    own       own      own     own    POST orders/{pending}/pay
order/CancelOrder                     orders:write    own       own      any     any    POST orders/{pending}/cancel
order/RefundOrder                     orders:write    -         -        any     any    POST orders/{paid}/refund
order/ListRefunds                     orders:read     own       own      any     any    GET orders/{paid}/refunds
order/ShipOrder                       orders:write    -         -        any     any    POST orders/{paid}/ship
order/DeliverOrder                    orders:write    -         -        any     any    POST orders/{shipped}/deliver
order/HandleProviderMessage           orders:write    -         -        -       -
order/ExpireOrders                    orders:write    -         -        -       -
order/SettleOpenOrders                orders:write    -         -        -       -

event/ListUnheard                     events          -         -        -       -
event/NoteForWebhooks                 events          -         -        -       -
"""
ROLES = ("customer", "catalog", "orders", "admin")


@dataclass(frozen=True)
class Row:
    """A method, the scope that a service token needs (None: any token), and for each role what is found."""

    service: str
    method: str
    scope: str | None
    roles: dict[str, str]
    rest: str


def rows() -> Iterator[Row]:
    _, *lines = (line for line in TABLE.splitlines() if line)
    for line in lines:
        path, scope, *others = line.split(maxsplit=6)
        package, method = path.split("/")
        roles = dict(zip(ROLES, others[:4], strict=True))
        yield Row(
            f"{package}.{package.title()}Service", method, None if scope == "any" else scope, roles, "".join(others[4:])
        )
