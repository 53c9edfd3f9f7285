"""The module as it is shipped: its size, what it leans on, and that its types are its own."""

import gzip
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page
from support.outside import npm_package, program
from support.sites import Site, login
from support.waiting import PATIENCE

CLIENT = {path.name: path.read_text(encoding="utf-8") for path in files("asgi_jwt").joinpath("client").iterdir()}
MODULE, DPOP = CLIENT["asgi-jwt.js"], CLIENT["asgi-jwt-dpop.js"]
MAX = 4096


def test_size() -> None:
    """As it stands, with its comments, it takes at most 4 KB of gzip on the way."""
    assert len(gzip.compress(MODULE.encode(), 9, mtime=0)) <= MAX


def test_stands_alone() -> None:
    """It imports nothing, touches no storage and no document, and makes no code of text: any policy may be in force."""
    for module in (MODULE, DPOP):
        assert not re.search(r"\bimport\b|\brequire\(|\beval\b|new Function|innerHTML", module)
    assert not re.search(r"\b(localStorage|sessionStorage|indexedDB|document|caches)\b", MODULE)


USES = """
import { AuthError, createAuth, type Auth, type Device, type Session } from "./asgi-jwt.js";
import { dpop, subprotocols } from "./asgi-jwt-dpop.js";

const origins = ["https://api.example"] as const;
const auth: Auth = createAuth({ base: "/auth", origins, onchange: (session) => show(session) });
createAuth();
createAuth({ dpop });

function show(session: Session | null): void {
  document.title = session === null ? "nobody" : `${session.subject}, ${session.scopes.join(" ")}`;
}

export async function use(form: HTMLFormElement): Promise<void> {
  const ready: Session | null = await auth.ready;
  const session: Session = await auth.login({ username: "alice", password: "secret", otp: 123456 });
  await auth.login(new FormData(form));
  const ends: Date = new Date(session.expiresAt);
  const plan: unknown = session.claims["plan"];
  const like: typeof fetch = auth.fetch;
  const answer: Response = await auth.fetch(new URL("https://api.example/orders"), { method: "POST", body: "x" });
  const token: string | null = await auth.token();
  const devices: Device[] = await auth.sessions();
  await auth.endSession(devices[0]!.sid);
  new WebSocket("/feed", await subprotocols(auth, "/feed"));
  auth.onchange = null;
  auth.onchange = show;
  await auth.refresh();
  await auth.logout().catch((error: unknown) => {
    if (error instanceof AuthError) console.log(error.status, error.error?.length, error.retryAfter?.toFixed());
  });
  await auth.logoutEverywhere();
  auth.close();
  void [ready, ends, plan, like, answer, token];
}

// @ts-expect-error: read-only
auth.session = null;
// @ts-expect-error: read-only
auth.session!.subject = "bob";
// @ts-expect-error: a string is no list
createAuth({ origins: "https://api.example" });
// @ts-expect-error: no such option
createAuth({ url: "/auth" });
"""


MAIN = """
import { createAuth } from "./asgi-jwt.js";

const auth = createAuth();
auth.onchange = (session) => { document.title = session?.subject ?? "nobody"; };
window.onclick = () => auth.logout();
"""


def compiled(tmp_path: Path, text: str) -> str:
    """What the TypeScript compiler, at its strictest, has against a program beside the client."""
    for name, content in {**CLIENT, "main.ts": text}.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    compiler = npm_package("typescript") / "bin" / "tsc"
    options = "--noEmit --strict --noUncheckedIndexedAccess --exactOptionalPropertyTypes --lib es2022,dom,dom.iterable"
    options += " --target es2022 --module esnext --moduleResolution bundler --types"
    told = subprocess.run(
        [program("node"), compiler, *options.split(), "", "main.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return told.stdout + told.stderr


@pytest.mark.outside
def test_types(tmp_path: Path) -> None:
    """The types allow what the client is made for, and nothing else."""
    assert compiled(tmp_path, USES) == ""
    assert "TS2339" in compiled(tmp_path, USES + "auth.nothing;")


@pytest.mark.outside
def test_types_are_those_of_the_module(tmp_path: Path, page: Page) -> None:
    """The types name just what there is, of the client, the session and the module."""
    page.evaluate(login())
    auth, session = page.evaluate("[Object.keys(auth), Object.keys(auth.session)]")
    module = page.evaluate("import('/auth/asgi-jwt.js').then((module) => Object.keys(module))")
    for name, members in {"Auth": auth, "Session": session, "typeof import('./asgi-jwt.js')": module}.items():
        text = "import type { Auth, Session } from './asgi-jwt.js';\nexport type Both = Auth | Session;\n"
        listed = ", ".join(f"{member}: true" for member in members)
        text += f"export const members: Record<keyof ({name}), true> = {{ {listed} }};\n"
        assert compiled(tmp_path, text) == "", name


@pytest.mark.outside
@pytest.mark.parametrize("form", ["esm", "iife"])
def test_from_a_bundler(tmp_path: Path, context: BrowserContext, site: Site, form: str) -> None:
    """A page that takes the client from a bundler, minified and for older browsers, works."""
    (tmp_path / "asgi-jwt.js").write_text(MODULE, encoding="utf-8")
    (tmp_path / "main.js").write_text(MAIN)
    bundler = npm_package("esbuild") / "bin" / "esbuild"
    subprocess.run(
        [bundler, "main.js", "--bundle", "--minify", "--target=es2021", f"--format={form}", "--outfile=bundle.js"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    site.files["bundle.js"] = (tmp_path / "bundle.js").read_bytes()
    page = context.new_page()
    page.goto(f"{site.url}/?manual")
    page.add_script_tag(url="/files/bundle.js", type="module" if form == "esm" else "")
    page.wait_for_function("document.title === 'nobody'")
    page.evaluate(
        f"import('/auth/asgi-jwt.js').then(({{ createAuth }}) => {{ const auth = createAuth(); return {login()} }})"
    )
    page.wait_for_function("document.title === 'alice'")
    page.evaluate("onclick()")
    page.wait_for_function("document.title === 'nobody'")
