"""The code checks itself: layers, sizes, banned imports, what may not be left behind (after TigerBeetle's `tidy.zig`).

Each rule is a function from the root of a tree to the violations in it, one line each. It runs on this repository, and
on a planted tree, to show that it can fail.
"""

import ast
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = ("crdt", "transports", "runtime")
CODE_ROOTS = (*SOURCE_ROOTS, "tests", "benchmarks")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
SKIPPED_FOLDERS = {"__pycache__", "build", "dist"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".cfg", ".ini", ".json", ".yml", ".yaml", ".sh", ""}

# Which of our packages each package may import, beside itself.
PACKAGES = {
    "actonce_crdt": set[str](),
    "actonce_transports": set[str](),
    "actonce": {"actonce_crdt", "actonce_transports"},
}

# The runtime from the bottom up: a module may import modules of its own row and of the rows above it in this table (and
# never in a circle). A folder stands for all of its modules; `actonce` itself is runtime/actonce/__init__.py.
RUNTIME_ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "garbage", "naming", "ownership", "pauses", "placement", "roster"),
    ("locks",),
    (
        "compare_messages", "envelopes", "journal", "messages", "overlay_messages", "recovery", "settings",
        "transfer_messages", "world",
    ),
    ("acquaintances", "breaker", "broadcast", "complaints", "limits", "overlay", "reclaim"),
    (
        "agent", "http_sink", "http_stream", "loading", "merging",
        "nostr_sink", "schedule", "sink_contract", "sinks", "sources",
    ),
    ("matrix",),
    (
        "asking", "endpoints", "following", "heal", "ledger",
        "memory", "peers", "pool", "running", "sharing", "standing", "texts",
    ),
    ("escrow",),
    ("cooling",),
    (
        "comparing", "deaths", "discovered", "front", "gossip", "guards", "lines", "lock_session",
        "membership", "routes", "settling", "spread", "state_transfer", "suspicion", "texting",
    ),
    ("electorate", "fenced", "leases", "majority", "needs", "slots", "task_locks", "transfers", "voting"),
    (
        "claims", "delegation", "executor", "inbox", "looked", "outbox",
        "poison", "quotas", "readiness", "standing_in", "upkeep",
    ),
    ("children", "control", "doubts", "merges", "orders", "polls", "scheduler", "steps", "webhooks"),
    (
        "context", "desk", "engine", "job", "listening", "patience",
        "performing", "polling", "recall", "resolving", "spending", "stepping", "views",
    ),
    ("edge", "memory_report", "quota_report"),
    ("control_report", "election_report", "follower_report"),
    (
        "effect_report", "handle", "http_api", "http_memory", "metrics",
        "obstacles", "replica", "reporting", "sim", "troubles",
    ),
    ("actonce",),
    ("__main__", "bench", "cli", "demo"),
)

# Folders whose tests sleep in virtual time.
VIRTUAL_TIME = ("tests/simulation",)

# Folders whose faults last in real time, and that look again and again whether something has come.
REAL_FAULTS = ("tests/lab", "tests/matrix")

Rule = Callable[[Path], Iterator[str]]


def files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        # Not even looked into: other tests make and delete files there.
        below[:] = sorted(name for name in below if name not in SKIPPED_FOLDERS and (name[0] != "." or name == ".ci"))
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix in TEXT_SUFFIXES and (path.suffix or path.parent.name == ".ci") and path.is_file():
                yield path


def modules(root: Path, folders: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    for path in files(root):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".py" and name.startswith(tuple(f"{folder}/" for folder in folders)):
            yield name, ast.parse(path.read_text(encoding="utf-8"), filename=name)


def dotted(name: str) -> str:
    """`runtime/actonce/edge/journal.py` -> `actonce.edge.journal`."""
    parts = name.removesuffix(".py").split("/")[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all that is imported, wherever it stands in the file; `from a import b` gives `a.b`."""
    package = dotted(name) if name.endswith("__init__.py") else dotted(name).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def layers(root: Path) -> Iterator[str]:
    for name, tree in modules(root, SOURCE_ROOTS):
        own = name.split("/")[1]
        if own not in PACKAGES:  # the examples may import what a user may
            continue
        for line, imported in imports(name, tree):
            package = imported.partition(".")[0]
            if package in PACKAGES and package != own and package not in PACKAGES[own]:
                yield f"{name}:{line}: {own} may not import {package}"


def runtime_graph(root: Path) -> dict[str, dict[str, int]]:
    """Module -> the runtime modules that it imports -> the line. A submodule wins over a name in its package."""
    trees = {dotted(name): (name, tree) for name, tree in modules(root, ("runtime/actonce",))}
    graph: dict[str, dict[str, int]] = {module: {} for module in trees}
    for module, (name, tree) in trees.items():
        for line, imported in imports(name, tree):
            if imported.partition(".")[0] != "actonce":
                continue
            target = imported
            while target not in trees and "." in target:
                target = target.rpartition(".")[0]
            if target in trees and target != module:
                graph[module].setdefault(target, line)
    return graph


def row(module: str) -> int:
    part = module.split(".")[1] if "." in module else module
    return next((index for index, names in enumerate(RUNTIME_ORDER) if part in names), -1)


def runtime_order(root: Path) -> Iterator[str]:
    for module, targets in runtime_graph(root).items():
        if row(module) < 0:
            yield f"{module} is not in RUNTIME_ORDER (tests/test_tidy.py): say where it stands"
            continue
        for target, line in targets.items():
            if row(target) > row(module):
                yield f"{module}:{line}: imports {target}, which stands above it"


def runtime_cycles(root: Path) -> Iterator[str]:
    graph = runtime_graph(root)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> Iterator[str]:
        if module in path:
            yield "circle: " + " -> ".join([*path[path.index(module) :], module])
        elif module not in done:
            for target in graph[module]:
                yield from visit(target, (*path, module))
            done.add(module)

    for module in graph:
        yield from visit(module, ())


def banned_imports(root: Path) -> Iterator[str]:
    lint = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    banned = tuple(lint["flake8-tidy-imports"]["banned-api"])
    edges = [pattern for pattern, rules in lint["per-file-ignores"].items() if "TID251" in rules]
    for name, tree in modules(root, SOURCE_ROOTS):
        if any(fnmatch(name, pattern) for pattern in edges):
            continue
        for line, imported in imports(name, tree):
            if any(imported == api or imported.startswith(f"{api}.") for api in banned):
                yield f"{name}:{line}: imports {imported}; only the edge modules of pyproject.toml may"


def sizes(root: Path) -> Iterator[str]:
    for name, tree in modules(root, CODE_ROOTS):
        lines = len((root / name).read_text(encoding="utf-8").splitlines())
        if lines > FILE_LINES_MAX:
            yield f"{name}: {lines} lines, more than {FILE_LINES_MAX}"
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    yield f"{name}:{node.lineno}: {node.name} has {length} lines, more than {FUNCTION_LINES_MAX}"


def sleeping_tests(root: Path) -> Iterator[str]:
    """`sleep(0)` is a yield, not a wait."""
    clocks = {"time", "asyncio", "anyio", "trio"}
    for name, tree in modules(root, ("tests",)):
        if name.startswith(VIRTUAL_TIME + REAL_FAULTS):
            continue
        for line, imported in imports(name, tree):
            if imported.partition(".")[0] in clocks and imported.endswith(".sleep"):
                yield f"{name}:{line}: import the module, not its sleep"
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep"):
                continue
            yields = [ast.unparse(argument) for argument in node.args] == ["0"]
            if isinstance(node.func.value, ast.Name) and node.func.value.id in clocks and not yields:
                yield f"{name}:{node.lineno}: sleeps on real time; wait for an event, with a timeout"


def left_behind(root: Path) -> Iterator[str]:
    rules = {
        "a path of one machine": re.compile(r"(^|[^.\w])/(home|root|tmp|work)/[a-z]"),
        "work left open": re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b"),
        "an index host": re.compile(r"py" r"pi\.org/simple|files\.python" r"hosted|--(extra-)?index-" r"url"),
    }
    for path in files(root):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for what, pattern in rules.items():
                if pattern.search(line):
                    yield f"{path.relative_to(root).as_posix()}:{number}: {what}: {line.strip()[:80]}"


def dead_links(root: Path) -> Iterator[str]:
    """What a page of ours links to is there, and so is the heading."""
    for path in files(root):
        if path.suffix != ".md":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for target, heading in re.findall(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)", line):
                there = path.parent / target if target else path
                if not there.exists() or (heading and heading not in headings(there)):
                    name = path.relative_to(root).as_posix()
                    yield f"{name}:{number}: links to {target}{heading and '#' + heading}, which is not there"


def headings(page: Path) -> set[str]:
    """As they are named in links."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


RULES: tuple[Rule, ...] = (
    layers,
    runtime_order,
    runtime_cycles,
    banned_imports,
    sizes,
    sleeping_tests,
    left_behind,
    dead_links,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_this_repository(rule: Rule) -> None:
    assert list(rule(ROOT)) == []


def test_this_repository_is_read() -> None:
    """An empty list of violations would also come from a tree in which nothing was found."""
    assert "actonce.errors" in runtime_graph(ROOT)
    assert ROOT / ".ci" / "run" in set(files(ROOT))


LONG_FUNCTION = "def f():\n" + "    pass\n" * FUNCTION_LINES_MAX
TO_DO = "TO" + "DO"
PLANTED: tuple[tuple[Rule, dict[str, str], str], ...] = (
    (layers, {"crdt/actonce_crdt/a.py": "from actonce_transports import x"}, "may not import actonce_transports"),
    (layers, {"transports/actonce_transports/a.py": "def f():\n    import actonce.b"}, "a.py:2: "),
    (runtime_order, {"runtime/actonce/unheard.py": ""}, "unheard is not in RUNTIME_ORDER"),
    (
        runtime_order,
        {"runtime/actonce/errors.py": "from .edge import journal", "runtime/actonce/edge/journal.py": ""},
        "actonce.errors:1: imports actonce.edge.journal",
    ),
    (
        runtime_cycles,
        {
            "runtime/actonce/edge/__init__.py": "",
            "runtime/actonce/edge/a.py": "from . import b",
            "runtime/actonce/edge/b.py": "def f():\n    from actonce.edge.a import g",
        },
        "actonce.edge.a -> actonce.edge.b -> actonce.edge.a",
    ),
    (banned_imports, {"runtime/actonce/a.py": "import time"}, "imports time;"),
    (banned_imports, {"crdt/actonce_crdt/a.py": "from os import urandom"}, "imports os.urandom;"),
    (banned_imports, {"crdt/actonce_crdt/a.py": "import asyncio.events as e"}, "imports asyncio.events;"),
    (sizes, {"benchmarks/a.py": "\n" * (FILE_LINES_MAX + 1)}, "401 lines"),
    (sizes, {"tests/a.py": LONG_FUNCTION}, "f has 71 lines"),
    (sleeping_tests, {"tests/crdt/test_a.py": "import time\ntime.sleep(0.1)"}, "test_a.py:2: sleeps"),
    (sleeping_tests, {"tests/test_a.py": "from asyncio import sleep"}, "import the module"),
    (left_behind, {"crdt/README.md": "see " + "/" + "home/someone/x"}, "a path of one machine"),
    (left_behind, {".ci/run": f"# {TO_DO}: later"}, "work left open"),
    (left_behind, {"constraints.txt": "--index-" + "url x"}, "an index host"),
    (dead_links, {"README.md": "# A b\n[here](#a-b), [there](https://a.example/b), [gone](docs/a.md)"}, "docs/a.md"),
    (dead_links, {"README.md": "# A b\n[here](#a-b), [there](crdt/a.md#c)", "crdt/a.md": "# B"}, "crdt/a.md#c"),
)


@pytest.mark.parametrize(("rule", "tree", "expected"), PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_violation_is_caught(rule: Rule, tree: dict[str, str], expected: str, tmp_path: Path) -> None:
    plant(tmp_path, tree)
    violations = list(rule(tmp_path))
    assert len(violations) == 1
    assert expected in violations[0]


def test_a_tidy_tree_passes(tmp_path: Path) -> None:
    tidy = {
        "runtime/actonce/__init__.py": "from .edge import journal",
        "runtime/actonce/edge/__init__.py": "",
        "runtime/actonce/edge/journal.py": "import threading\nfrom ..errors import JournalError\nimport actonce_crdt",
        "runtime/actonce/errors.py": LONG_FUNCTION.removesuffix("    pass\n"),
        "tests/test_a.py": "import asyncio\nasyncio.sleep(0)",
        ".venv/lib/a.py": "x = '" + TO_DO + "'",
    }
    plant(tmp_path, tidy)
    for rule in RULES:
        assert list(rule(tmp_path)) == [], rule.__name__


def plant(root: Path, tree: dict[str, str]) -> None:
    (root / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    for name, text in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
