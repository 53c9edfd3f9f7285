"""A token is taken apart to be looked at, however it was pasted."""

from functools import partial

import pytest
from support.tables import tables_of
from support.tokens import claims, genuine_token, head, jws, segment

from asgi_jwt.commands.parsed_token import fault_of_form, parse_token

TOKEN = genuine_token()


JWE = {"alg": "dir", "enc": "A256GCM"}
forged = partial(jws, sign=lambda _: b"")
HEADER, PAYLOAD, SIGNATURE = TOKEN.split(".")

AROUND = tables_of(__file__)["around"]
SPOILED = {
    "double quotes": (f'"{TOKEN}"', "it stands in quotes: take them off"),
    "a quote before it": (f"'{TOKEN}", "it stands in quotes: take them off"),
    "a quote behind it": (f"{TOKEN}`", "it stands in quotes: take them off"),
    "dots encoded": (TOKEN.replace(".", "%2E"), "it is URL-encoded, as its % shows: decode it"),
    "padding encoded": (f"{HEADER}%3D.{PAYLOAD}.{SIGNATURE}", "it is URL-encoded, as its % shows: decode it"),
    "a line break": (f"{TOKEN[:80]}\n  {TOKEN[80:]}", "there is a space or a line break in it: put it together as one"),
    "a padded header": (f"{HEADER}=.{PAYLOAD}.{SIGNATURE}", "its header is padded with =: have it made with unpadded"),
    "a padded payload": (f"{HEADER}.{PAYLOAD}==.{SIGNATURE}", "its payload is padded with =: have it made with"),
    "standard base64": (f"{HEADER}.{PAYLOAD}.{SIGNATURE}+", "its signature is in standard base64, with + and /: have"),
    "a signature cut off": (f"{HEADER}.{PAYLOAD}.A", "its signature is no base64url, as when characters are lost or"),
    "no signature": (f"{HEADER}.{PAYLOAD}", "it has 2 parts where a signed JWT has three: copy the whole token"),
    "two signatures": (f"{TOKEN}.{SIGNATURE}", "it has 4 parts where a signed JWT has three: copy the whole token"),
}
NO_JWT = {
    "an answer without one": ('{"error": "invalid_grant"}', "it is JSON in which no access_token stands: give the"),
    "an answer of another form": ('{"access_token": {"a": 1}}', "it is JSON in which no access_token stands: give the"),
    "broken JSON": ('{"access_token": "a.b', "it is JSON in which no access_token stands: give the"),
    "opaque": ("0123456789abcdef", "it is opaque, one part where a signed JWT has three: ask the issuer for"),
    "opaque with a dot": ("ya29.a0AfH6SMB", "it has 2 parts where a signed JWT has three: "),
    "three dots": (f"{HEADER[:20]}...{SIGNATURE}", "it is cut short with dots: copy the whole token"),
    "an ellipsis": (f"{HEADER}.{PAYLOAD[:9]}\u2026", "it is cut short with dots: copy the whole token"),
    "two dots": ("..", "its header is not JSON in UTF-8 without repeated names: have the issuer send plain JSON"),
    "a header alone": (f"{HEADER}..", "its payload is not JSON"),
    "a list": (forged(b"[1]", claims()), "its header is not a JSON object: "),
    "a repeated name": (forged(head(), b'{"a":1,"a":2}'), "its payload is not JSON in UTF-8 without"),
    "depth": (forged(head(), b'{"a":' * 70 + b"1" + b"}" * 70), "its payload is nested more than 64 deep: "),
    "no ASCII": ("\xe9.\xe9.\xe9", "its header is no base64url"),
    "encrypted": (
        f"{segment(JWE)}..iv.text.tag",
        'it is encrypted (JWE, five parts, enc is "A256GCM"), and signed JWTs',
    ),
    "five parts": ("a.b.c.d.e", "it is encrypted (JWE, five parts), and signed JWTs alone are read here: ask the"),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_stands_around_a_token(around: str) -> None:
    """Whitespace and the scheme, with the header's name or without, are no part of the token."""
    parsed = parse_token(around.format(TOKEN).encode())
    assert parsed.token == TOKEN.encode()
    assert (parsed.header, parsed.claims) == (head(), claims())
    assert fault_of_form(parsed) is None


@pytest.mark.parametrize(("spoiled", "told"), SPOILED.values(), ids=SPOILED)
def test_a_token_that_was_spoiled_on_its_way(spoiled: str, told: str) -> None:
    """What spoiled it is told with its mend, and what it says can be read all the same."""
    parsed = parse_token(spoiled.encode())
    assert parsed.token == spoiled.encode()
    assert (parsed.header, parsed.claims) == (head(), claims())
    assert (fault_of_form(parsed) or "").startswith(told)


@pytest.mark.parametrize(("token", "told"), NO_JWT.values(), ids=NO_JWT)
def test_what_is_no_signed_jwt(token: str, told: str) -> None:
    """Each kind of thing that is no JWS in compact form is named, and nothing of its material is repeated."""
    fault = fault_of_form(parse_token(token.encode()))
    assert fault is not None
    assert fault.startswith(told)
    assert token not in fault


def test_nothing_can_be_read_of_rubbish() -> None:
    """Bytes of any kind are looked at without an error."""
    for rubbish in (b"", b"\xff\xfe.\x00.\x80", b"Bearer", b"%zz.%.%", b"." * 5000, b'"'):
        parsed = parse_token(rubbish)
        assert (parsed.header, parsed.claims) == (None, None)
