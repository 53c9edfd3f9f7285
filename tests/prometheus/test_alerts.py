"""The alert rules: the metrics that they look at are those that Prometheus scrapes, and each fires when it should."""

import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.app import Guarded, Service, authorization, make_auth
from support.metering import scraped
from support.outside import program
from support.waiting import PATIENCE

from asgi_jwt import errors
from asgi_jwt.errors import AuthError, InvalidToken

RULES = files("asgi_jwt") / "prometheus" / "alerts.yml"
TEXT = RULES.read_text(encoding="utf-8")

REFUSALS = "asgi_jwt_token_refusals_total"
REUSES = "asgi_jwt_token_reuses_total"
TREE = {kind.reason for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AuthError)}
INVALID = {kind.reason for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, InvalidToken)}


class Alert(NamedTuple):
    """`threshold` of its series a minute is quiet, one more fires."""

    name: str
    threshold: int
    metric: str
    reasons: tuple[str, ...]
    severity: str
    says: str


MOST = ("claims_malformed", "token_revoked")
BROKEN = "refuses 51 tokens with a wrong signature a minute"
ALERTS = [
    Alert("AsgiJwtVerificationFailures", 100, REFUSALS, MOST, "warning", "refuses 101 invalid tokens a minute"),
    Alert("AsgiJwtTokenReuse", 10, REUSES, (), "critical", "sees 11 refresh tokens used twice a minute"),
    Alert("AsgiJwtExpiredTokens", 500, REFUSALS, ("token_expired",), "warning", "refuses 501 expired tokens a minute"),
    Alert("AsgiJwtInvalidSignatures", 50, REFUSALS, ("signature_invalid",), "critical", BROKEN),
]


def test_every_rule_is_tested() -> None:
    """The alerts of the file are those that are tested, each with its threshold."""
    rules = re.split(r"- alert: ", TEXT)[1:]
    assert [rule.split()[0] for rule in rules] == [alert.name for alert in ALERTS]
    assert [re.findall(r"> (\d+)\"\n", rule) for rule in rules] == [[str(alert.threshold)] for alert in ALERTS]


def test_what_counts_as_a_verification_failure() -> None:
    """Every reason for which a token is invalid counts, but for its age, which has an alert of its own."""
    (listed,) = re.findall(r"error_type=~'([^']+)'", TEXT)
    assert sorted(re.sub(r"\\\n *", "", listed).split("|")) == sorted(INVALID - {"token_expired"})
    assert re.findall(r"error_type='(\w+)'", TEXT) == ["token_expired", "signature_invalid"]


@pytest.mark.anyio
async def test_the_metrics_are_those_that_prometheus_scrapes() -> None:
    """Each metric of the rules is there in a real scrape over HTTP, and moves by what the rules are about."""
    service = Service()
    auth = make_auth()
    with scraped(auth, service.auth) as scrape:
        used = set(re.findall(r"\b(asgi_jwt_\w+)[{[]", TEXT))
        assert used == {REFUSALS, REUSES}
        assert scrape.samples() == {}
        assert set(re.findall(r"^(asgi_jwt_\w+)", scrape.text(), re.MULTILINE)) >= used
        guarded = Guarded(auth)
        headers = authorization(auth)
        tampered = {"authorization": headers["authorization"][:-6] + "AAAAAA"}
        await guarded.request(headers=tampered)
        auth.clock.turn(1000)  # type: ignore[attr-defined]
        await guarded.request(headers=headers)
        await guarded.request()
        first = (await service.login()).cookie()
        second = (await service.refresh(first)).cookie()
        service.clock.turn(61)
        await service.refresh(second)
        await service.refresh(first)
        found = scrape.samples()
        assert found[REFUSALS] == {
            (("error_type", "signature_invalid"),): 1,
            (("error_type", "token_expired"),): 1,
            (("error_type", "token_missing"),): 1,
            (("error_type", "token_reused"),): 1,
        }
        assert found[REUSES] == {(): 1}


def series(metric: str, reason: str | None, a_minute: int, instance: str) -> dict[str, str]:
    labels = {"job": "api", "instance": instance, **({} if reason is None else {"error_type": reason})}
    return {
        "series": metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}",
        "values": f"0+{a_minute}x20",
    }


def at(alert: Alert, a_minute: int) -> list[dict[str, str]]:
    """So many a minute, from two instances and for several reasons."""
    reasons = alert.reasons or (None,)
    shares = [(reason, instance) for reason in reasons for instance in ("a", "b")]
    each = a_minute // len(shares)
    rest = a_minute - each * len(shares)
    return [
        series(alert.metric, reason, each + (rest if not number else 0), instance)
        for number, (reason, instance) in enumerate(shares)
    ]


def case(name: str, given: list[dict[str, str]], fires: dict[str, str]) -> dict[str, Any]:
    """A test of all alerts with these series; `fires`: what each says that does."""
    expected = [
        {
            "alertname": alert.name,
            "eval_time": "15m",
            "exp_alerts": [
                {
                    "exp_labels": {"job": "api", "severity": alert.severity},
                    "exp_annotations": {"summary": f"api {fires[alert.name]}", "description": _description(alert)},
                }
            ]
            if alert.name in fires
            else [],
        }
        for alert in ALERTS
    ]
    return {"name": name, "interval": "1m", "input_series": given, "alert_rule_test": expected}


def _description(alert: Alert) -> str:
    folded = TEXT.partition(f"- alert: {alert.name}\n")[2].partition("description: >-\n")[2].split("\n\n")[0]
    return " ".join(line.strip() for line in folded.strip().splitlines())


@pytest.mark.outside
def test_each_alert_on_both_sides_of_its_threshold(tmp_path: Path) -> None:
    """At its threshold an alert is quiet, one a minute above it fires, and no other alert with it.

    What is no verification failure, however often it comes, sets nothing off.
    """
    harmless = sorted(TREE - INVALID)
    cases = [
        *(case(f"{alert.name} quiet", at(alert, alert.threshold), {}) for alert in ALERTS),
        *(case(f"{alert.name} fires", at(alert, alert.threshold + 1), {alert.name: alert.says}) for alert in ALERTS),
        case("others", [series(REFUSALS, reason, 10_000, "a") for reason in harmless], {}),
        case("nothing", [], {}),
    ]
    promtool(tmp_path, cases)


def promtool(folder: Path, cases: list[dict[str, Any]]) -> None:
    """Run Prometheus' own tests of rules. JSON is YAML too."""
    tests = folder / "tests.json"
    tests.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    for command in (["check", "rules", str(RULES)], ["test", "rules", str(tests)]):
        ended = subprocess.run(
            [program("promtool"), *command], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
