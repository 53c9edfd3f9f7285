"""What a printed `curl -i` line answers: by curl where there is one, else through httpx2, which reads the same line."""

import shlex
import shutil
import subprocess
from argparse import ArgumentParser
from collections.abc import Callable
from http.cookiejar import DefaultCookiePolicy, MozillaCookieJar

import httpx2
from support.waiting import PATIENCE

Curl = Callable[[str], str]
"""Takes the command line, gives what it prints: the head of the answer, an empty line, the body."""


def by_curl(command: str) -> str:
    words = [*shlex.split(command), "--silent", "--show-error", "--max-time", "20", "--noproxy", "*"]
    answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return answer.stdout.replace("\r\n", "\n")


def by_httpx2(command: str) -> str:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("program", choices=["curl"])
    parser.add_argument("-i", action="store_true", required=True)
    parser.add_argument("-X")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", action="append", default=[])
    parser.add_argument("-b")
    parser.add_argument("-c")
    parser.add_argument("url")
    given = parser.parse_args(shlex.split(command))
    headers = [tuple(line.split(": ", 1)) for line in given.H]
    url = given.url if "://" in given.url else f"http://{given.url}"
    if given.d:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    # On loopback, curl and browsers take the cookies that are marked Secure over plain HTTP too.
    jar = MozillaCookieJar(policy=DefaultCookiePolicy(secure_protocols=("http", "https")))
    if given.b:
        jar.load(given.b, ignore_discard=True)
    with httpx2.Client(trust_env=False, timeout=PATIENCE, cookies=jar) as client:
        answer = client.request(
            given.X or ("POST" if given.d else "GET"), url, headers=headers, content="&".join(given.d) or None
        )
    if given.c:
        jar.save(given.c, ignore_discard=True)
    head = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
    head += [f"{name}: {value}" for name, value in answer.headers.items()]
    return "\n".join([*head, "", answer.text])


CURLS: list[Curl] = [by_httpx2, by_curl] if shutil.which("curl") else [by_httpx2]
