"""Access tokens in the shapes in which other issuers document theirs, and the settings that each of them takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NOW = 1_800_000_000
TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """A token as its issuer documents it, and the settings with which it passes.

    `settings` is what the token needs. `also` only keeps others out: without it the token still passes, and so does
    one with the claims or header of `confused`, which is none for this service.
    """

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    settings: Mapping[str, str]
    also: Mapping[str, str] = field(default_factory=dict)
    confused: Mapping[str, Any] | None = None
    scopes: Iterable[str] = ()
    roles: Iterable[str] = ()
    subject: str = "alice"

    @property
    def row(self) -> dict[str, str]:
        return {**self.settings, **self.also}


ISSUERS: dict[str, Issuer] = {
    # auth0.com/docs/secure/tokens/access-tokens/access-token-profiles: no type claim, a list of audiences, a trailing
    # slash, and with RBAC the permissions of the user beside the scopes that the client asked for.
    "Auth0": Issuer(
        header={"typ": "JWT"},
        claims={
            "iss": "https://tenant.eu.auth0.com/",
            "sub": "auth0|6553da60a54af58e29493993",
            "aud": ["https://api.example", "https://tenant.eu.auth0.com/userinfo"],
            "azp": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja",
            "scope": "openid profile",
            "permissions": ["orders:read", "orders:write"],
        },
        settings={
            "issuer": "https://tenant.eu.auth0.com/",
            "audience": "https://api.example",
            "type": "*",
            "scope_claim": "permissions",
        },
        scopes=["orders:read", "orders:write"],
        subject="auth0|6553da60a54af58e29493993",
    ),
    # The same page's other profile, RFC 9068's: `typ` is at+jwt, and there is a client_id.
    "Auth0, RFC 9068 profile": Issuer(
        header={"typ": "at+jwt"},
        claims={
            "iss": "https://tenant.eu.auth0.com/",
            "sub": "auth0|123456",
            "aud": ["https://api.example", "https://tenant.eu.auth0.com/userinfo"],
            "client_id": "my_client_id",
            "jti": "73WakrfVbNJBaAmhQtEeDv",
            "scope": "openid profile orders:read",
        },
        settings={"issuer": "https://tenant.eu.auth0.com/", "audience": "https://api.example", "type": "*"},
        also={"typ": "at+jwt", "require_typ": "true"},
        confused={"typ": "JWT"},
        scopes=["openid", "profile", "orders:read"],
        subject="auth0|123456",
    ),
    # learn.microsoft.com/entra/identity-platform/access-token-claims-reference: `scp` is a string, `roles` a list,
    # there is no jti and no type claim. An ID token has the same audience where an app is its own API, but no `scp`.
    "Entra ID v1": Issuer(
        header={"typ": "JWT", "x5t": "i6lGk3FZzxRcUb2C3nEQ7syHJlY"},
        claims={
            "aud": "api://11112222-bbbb-3333-cccc-4444dddd5555",
            "iss": f"https://sts.windows.net/{TENANT}/",
            "acr": "1",
            "amr": ["pwd"],
            "appid": "00001111-aaaa-2222-bbbb-3333cccc4444",
            "appidacr": "0",
            "oid": "cccccccc-2222-3333-4444-dddddddddddd",
            "scp": "Orders.Read Orders.Write",
            "roles": ["Clerk"],
            "sub": "l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
            "tid": TENANT,
            "unique_name": "alice@contoso.example",
            "uti": "FVsGxYXI30-TuikuuUoFAA",
            "ver": "1.0",
        },
        settings={
            "issuer": f"https://sts.windows.net/{TENANT}/",
            "audience": "api://11112222-bbbb-3333-cccc-4444dddd5555",
            "type": "*",
            "scope_claim": "scp",
        },
        also={"required_claims": "scp"},
        confused={"scp": None},
        scopes=["Orders.Read", "Orders.Write"],
        roles=["Clerk"],
        subject="l3_roISQU222bULS9yi2k0XpqpOiMz5H3ZACo1GeXA",
    ),
    "Entra ID v2": Issuer(
        header={"typ": "JWT"},
        claims={
            "aud": "11112222-bbbb-3333-cccc-4444dddd5555",
            "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "azp": "00001111-aaaa-2222-bbbb-3333cccc4444",
            "azpacr": "0",
            "name": "Alice",
            "oid": "cccccccc-2222-3333-4444-dddddddddddd",
            "preferred_username": "alice@contoso.example",
            "rh": "0.AQAA",
            "scp": "Orders.Read",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "tid": TENANT,
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "2.0",
        },
        settings={
            "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "audience": "11112222-bbbb-3333-cccc-4444dddd5555",
            "type": "*",
            "scope_claim": "scp",
        },
        also={"required_claims": "scp"},
        confused={"scp": None},
        scopes=["Orders.Read"],
        subject="HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
    ),
    # developer.okta.com/docs/api/openapi/okta-oauth: no typ, `scp` is a list, the client is `cid`.
    "Okta": Issuer(
        header={},
        claims={
            "ver": 1,
            "jti": "AT.MNAoEQ_jbKqoinrQo1D0XKjMX28U5d7ZszBceot7-Ts",
            "iss": "https://tenant.okta.com/oauth2/default",
            "aud": "api://default",
            "sub": "alice@tenant.example",
            "cid": "0oaiw2v8m6unWCvXM0h7",
            "uid": "00u1a2b3c4",
            "scp": ["openid", "orders:read"],
            "groups": ["Clerks", "Everyone"],
        },
        settings={
            "issuer": "https://tenant.okta.com/oauth2/default",
            "audience": "api://default",
            "type": "*",
            "scope_claim": "scp",
            "roles_claim": "groups",
        },
        also={"required_claims": "cid"},
        confused={"cid": None},
        scopes=["openid", "orders:read"],
        roles=["Clerks", "Everyone"],
        subject="alice@tenant.example",
    ),
    # keycloak.org, "Server Administration": the kind of token is the claim `typ`, roles are nested.
    "Keycloak": Issuer(
        header={"typ": "JWT"},
        claims={
            "jti": "trrtcc:312ee6c0-32a1-4b3a-9f0e-1d0c2d2a0d11",
            "iss": "https://keycloak.example/realms/shop",
            "aud": ["orders-api", "account"],
            "sub": "36fa0f91-f94d-4a0c-afed-6b7d952e47da",
            "typ": "Bearer",
            "azp": "shop-frontend",
            "sid": "2a88c258-f73a-4103-b862-e1fbd8f4e04e",
            "acr": "1",
            "allowed-origins": ["https://shop.example"],
            "realm_access": {"roles": ["offline_access", "clerk"]},
            "resource_access": {"account": {"roles": ["view-profile"]}},
            "scope": "email profile",
            "email_verified": True,
            "preferred_username": "alice",
        },
        settings={
            "issuer": "https://keycloak.example/realms/shop",
            "audience": "orders-api",
            "type": "typ=Bearer",
            "roles_claim": "realm_access.roles",
        },
        scopes=["email", "profile"],
        roles=["offline_access", "clerk"],
        subject="36fa0f91-f94d-4a0c-afed-6b7d952e47da",
    ),
    # docs.aws.amazon.com/cognito, "Understanding the access token": no aud, no typ, the kind is `token_use`.
    "Amazon Cognito": Issuer(
        header={},
        claims={
            "sub": "a1b2c3d4-5678-90ab-cdef-1234567890ab",
            "cognito:groups": ["clerks"],
            "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example",
            "version": 2,
            "client_id": "7m1234abcdefghijklmnopqrst",
            "origin_jti": "f5e6d7c8-b9a0-1234-5678-90abcdef1234",
            "token_use": "access",
            "scope": "openid orders/read",
            "auth_time": NOW - 60,
            "jti": "a1b2c3d4-aaaa-bbbb-cccc-1234567890ab",
            "username": "alice",
        },
        settings={
            "issuer": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example",
            "audience": "7m1234abcdefghijklmnopqrst",
            "audience_claim": "client_id",
            "type": "token_use=access",
            "roles_claim": "cognito:groups",
        },
        scopes=["openid", "orders/read"],
        roles=["clerks"],
        subject="a1b2c3d4-5678-90ab-cdef-1234567890ab",
    ),
    # developers.google.com/identity/openid-connect: its access tokens are opaque, so an API takes the ID token, whose
    # audience is the client.
    "Google, ID token": Issuer(
        header={"typ": "JWT"},
        claims={
            "iss": "https://accounts.google.com",
            "azp": "1234987819200.apps.googleusercontent.com",
            "aud": "1234987819200.apps.googleusercontent.com",
            "sub": "10769150350006150715113082367",
            "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
            "hd": "example.com",
            "email": "alice@example.com",
            "email_verified": True,
        },
        settings={
            "issuer": "https://accounts.google.com",
            "audience": "1234987819200.apps.googleusercontent.com",
            "type": "*",
        },
        also={"required_claims": "email_verified=true,hd=example.com"},
        confused={"hd": "thief.example"},
        subject="10769150350006150715113082367",
    ),
    # cloud.google.com/docs/authentication/token-types: the ID token of a service account, for one service's URL.
    "Google, service account": Issuer(
        header={"typ": "JWT"},
        claims={
            "iss": "https://accounts.google.com",
            "aud": "https://orders-abc123-ew.a.run.app",
            "azp": "112233445566778899000",
            "sub": "112233445566778899000",
            "email": "caller@project.iam.gserviceaccount.com",
            "email_verified": True,
        },
        settings={
            "issuer": "https://accounts.google.com",
            "audience": "https://orders-abc123-ew.a.run.app",
            "type": "*",
        },
        also={"required_claims": "email=caller@project.iam.gserviceaccount.com"},
        confused={"email": "thief@other.iam.gserviceaccount.com"},
        subject="112233445566778899000",
    ),
    # kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin: a projected token of a pod.
    "Kubernetes service account": Issuer(
        header={},
        claims={
            "aud": ["orders-api"],
            "iss": "https://kubernetes.default.svc.cluster.local",
            "jti": "aed34954-b33a-4142-b1ec-389d6bbb4936",
            "kubernetes.io": {
                "namespace": "shop",
                "node": {"name": "node-1", "uid": "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1"},
                "pod": {"name": "frontend-0", "uid": "5e0bd49b-f040-43b0-99b7-22765a53f7f3"},
                "serviceaccount": {"name": "frontend", "uid": "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"},
                "warnafter": NOW + 3000,
            },
            "nbf": NOW,
            "sub": "system:serviceaccount:shop:frontend",
        },
        settings={
            "issuer": "https://kubernetes.default.svc.cluster.local",
            "audience": "orders-api",
            "type": "*",
        },
        subject="system:serviceaccount:shop:frontend",
    ),
}
