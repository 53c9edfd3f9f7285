"""Tables of short texts."""


def cells(row: str) -> list[str]:
    """The cells of a row, which ` | ` separates. A cell may be empty, and keeps its spaces."""
    return row.split(" | ")
