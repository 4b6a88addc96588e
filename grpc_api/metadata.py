"""Metadata that both sides know."""

# The id that our log has for a call. Of a stream it is the first thing that is said, once it is open.
REQUEST_ID_KEY = "x-request-id"
