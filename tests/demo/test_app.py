"""The demo's app."""

import pytest
from starlette.testclient import TestClient

from asgi_jwt import Auth, Settings
from asgi_jwt.demo.app import build_app
from asgi_jwt.stores.memory import MemoryStore
from asgi_jwt.testing import Clock, fake_issuer

PASSWORDS = {"alice": "wonderland", "bob": "builder"}


@pytest.fixture
def auth() -> Auth:
    settings = Settings(
        issuer="https://issuer.example", audience="demo", secret="0123456789abcdef" * 2, refresh_secret="r" * 32
    )
    return Auth(settings, store=MemoryStore(), clock=Clock(1_000))


def test_welcome(auth: Auth) -> None:
    """The front page is public and names the address of the protected one."""
    answer = TestClient(build_app(auth, PASSWORDS), base_url="http://demo.example").get("/")
    assert answer.status_code == 200
    assert "curl -i http://demo.example/api/me\n" in answer.text


def test_me_needs_a_token(auth: Auth) -> None:
    """The protected page answers nobody without a token."""
    assert TestClient(build_app(auth, PASSWORDS)).get("/api/me").status_code == 401


def test_me(auth: Auth) -> None:
    """The protected page says whose token came, what it permits, and until when."""
    with fake_issuer(auth) as issue:
        headers = issue("alice", scopes=["profile:read"], expires_in=60)
        answer = TestClient(build_app(auth, PASSWORDS)).get("/api/me", headers=headers)
    assert answer.json() == {
        "subject": "alice",
        "scopes": ["profile:read"],
        "issuer": "https://issuer.example",
        "expires_at": 1_060,
    }


@pytest.mark.parametrize(
    ("username", "password", "status"),
    [
        ("alice", "wonderland", 200),
        ("bob", "builder", 200),
        ("alice", "builder", 401),
        ("alice", "", 401),
        ("alice", "wönderland", 401),
        ("mallory", "wonderland", 401),
        ("mallory", "", 401),
    ],
)
def test_login(auth: Auth, username: str, password: str, status: int) -> None:
    """Its users log in with their own passwords, and nobody else does; their tokens open the protected page."""
    with TestClient(build_app(auth, PASSWORDS)) as client:
        answer = client.post("/auth/login", json={"username": username, "password": password})
        assert answer.status_code == status
        if status == 200:
            headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            assert client.get("/api/me", headers=headers).json()["subject"] == username
