"""How much is asked for in one message; servers refuse more. For more products the client asks several times."""

# However long the descriptions of products are, a message holds that many.
MAX_PRODUCTS = 100
MAX_ORDERS = 1000
