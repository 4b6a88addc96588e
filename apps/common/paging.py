"""How much of a long list is answered at once, wherever it is asked for."""

PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
