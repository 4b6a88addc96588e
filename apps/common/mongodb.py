"""What a MongoDB driver raises when no server answers, in Django's words."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, OperationalError
from pymongo.errors import ConnectionFailure, PyMongoError


@contextmanager
def says_when_away() -> Iterator[None]:
    """
    Raises:
        OperationalError: no server answers.
        DatabaseError: another fault of the driver or the server.
    """
    try:
        yield
    except ConnectionFailure as error:
        raise _away(error) from error
    except DatabaseError as error:
        if isinstance(error.__cause__, ConnectionFailure):
            raise _away(error.__cause__) from error
        raise
    except PyMongoError as error:
        raise DatabaseError(str(error)) from error


def _away(error: ConnectionFailure) -> OperationalError:
    # What follows describes the driver's settings.
    return OperationalError(f"No MongoDB server answers: {str(error).partition(' (configured')[0]}")
