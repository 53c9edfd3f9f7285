"""Tables of short texts."""


def cells(row: str) -> list[str]:
    """The cells of a row, which ` | ` separates. A cell may be empty, and keeps its spaces."""
    return row.split(" | ")


def headers_of(row: str) -> list[tuple[str, str]]:
    """The headers of a row, as `name: value | name: value`."""
    pairs = [line.partition(":") for line in row.split(" | ") if line]
    return [(name, value.strip(" ")) for name, _, value in pairs]
