"""The structure explains itself, and stays that way."""

import ast
import re
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = ("models", "pipeline", "jobs")
SOURCES = sorted(p for top in (*TOP, "benchmarks") for p in (ROOT / top).rglob("*.py"))
NOT_JOBS = ("__init__.py", "cli.py", "steps.py", "demo_steps.py", "demo_plan.py")
JOBS = sorted(p for p in (ROOT / "jobs").glob("*.py") if p.name not in NOT_JOBS)

# What a package may import of ours beside itself; `jobs -> pipeline -> models`, and inside pipeline one way too.
DATA = {"pipeline.core", "pipeline.data"}
TRAIN = {"models", *DATA, "pipeline.tracking", "pipeline.train"}
SHOW = {*TRAIN, "pipeline.eval", "pipeline.explain"}
TEACH = {*SHOW, "pipeline.registry", "pipeline.annotate"}
BESIDE = {
    "models": set[str](),
    "pipeline/core": set[str](),
    "pipeline/data": {"pipeline.core"},
    "pipeline/tracking": {"pipeline.core"},
    "pipeline/flow": DATA,
    "pipeline/annotate": DATA,
    "pipeline/train": TRAIN,
    "pipeline/eval": TRAIN - {"pipeline.tracking"},
    "pipeline/explain": SHOW - {"pipeline.tracking"},
    "pipeline/registry": SHOW - {"pipeline.explain"},
    "pipeline/two_stream": SHOW | {"pipeline.flow"},
    "pipeline/finetune": TEACH,
    "pipeline/retrain": TEACH | {"pipeline.finetune"},
    "pipeline/tune": TEACH | {"pipeline.finetune", "pipeline.two_stream"},
    "pipeline/reproduce": DATA | {"pipeline.eval", "pipeline.flow", "pipeline.tracking"},
    "jobs": {"models", "pipeline"},
    "benchmarks": {"models", "pipeline"},
}
ALLOWED = {area: may | {area.replace("/", ".")} for area, may in BESIDE.items()}


def test_what_packages_may_import_has_no_cycle():
    """Function-level imports included, since the table holds for them too."""
    left = {area: {a.replace(".", "/") for a in may} - {area} for area, may in ALLOWED.items()}
    left = {
        area: {a for a in ALLOWED if any(a == m or a.startswith(m + "/") for m in may)} - {area}
        for area, may in left.items()
    }
    while free := {area for area, others in left.items() if not others & left.keys()}:
        left = {area: others for area, others in left.items() if area not in free}
    assert left == {}


def test_the_architecture_page_prints_what_packages_may_import():
    """Short names in the page's table are packages of `pipeline`."""
    rows = re.findall(r"^\| `([\w/]+)` \| (.+) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.M)
    told = {area: set() if may == "nothing" else set(may.split(", ")) for area, may in rows}
    assert len(told) == len(rows)
    others = {area: may - {area.replace("/", ".")} for area, may in BESIDE.items()}
    assert told == {area: {a.removeprefix("pipeline.") for a in may} for area, may in others.items()}


def name(path):
    return str(path.relative_to(ROOT))


def ours(path):
    """Modules of this project that a file imports, function-level imports included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("relative import")
    return {module for module in found if module.split(".")[0] in (*TOP, "benchmarks", "relative import")}


def area(path):
    return max((a for a in ALLOWED if name(path).startswith(a + "/")), key=len, default=None)


def test_there_is_something_to_check():
    assert len(SOURCES) > 30
    assert len(JOBS) >= 5


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_go_one_way(path):
    where = area(path)
    if where is None:
        assert ours(path) == set()
        return
    allowed = ALLOWED[where]
    assert {m for m in ours(path) if not any(m == a or m.startswith(a + ".") for a in allowed)} == set()


def test_the_modules_of_the_package_form_no_cycle():
    modules = {name(p).removesuffix(".py").removesuffix("/__init__").replace("/", "."): p for p in SOURCES}

    def imported(path):
        tops = [n for n in ast.parse(path.read_text()).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        wanted = set()
        for node in tops:
            if isinstance(node, ast.ImportFrom):
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        return {m for m in wanted if m in modules and modules[m] != path}

    graph = {m: imported(p) for m, p in modules.items()}
    done, cycle = set(), []

    def visit(module, trail):
        if module in trail:
            cycle.append([*trail[trail.index(module) :], module])
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    assert cycle == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_is_short_enough_to_read(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_functions_are_short_enough_to_read(path):
    functions = [
        n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert {f.name: f.end_lineno - f.lineno + 1 for f in functions if f.end_lineno - f.lineno + 1 > 60} == {}


@pytest.mark.parametrize("path", JOBS, ids=name)
def test_a_job_is_thin_and_runs_by_itself(path):
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env python3\n")
    assert path.stat().st_mode & stat.S_IXUSR
    assert len(text.splitlines()) <= 120


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_file_with_a_shebang_and_no_other_can_be_started(path):
    assert path.read_text().startswith("#!") == bool(path.stat().st_mode & stat.S_IXUSR)


def test_models_need_torch_and_numpy_alone():
    heavy = {"ray", "mlflow", "pyarrow", "decord", "av", "cv2", "torchvision"}
    for path in (ROOT / "models").rglob("*.py"):
        tops = [n for n in ast.parse(path.read_text()).body if isinstance(n, (ast.Import, ast.ImportFrom))]
        roots = {(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split(".")[0] for n in tops}
        assert roots & heavy == set(), name(path)


def test_every_file_has_one_phrase_in_the_architecture_tree():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    tree = re.search(r"```text\n(.*?)```", text, re.S).group(1)
    listed, stack = [], []
    for line in filter(str.strip, tree.splitlines()):
        depth, entry = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        assert len(line.split()) > 1, f"no phrase: {line}"
        stack[depth:] = [entry.rstrip("/")]
        if not entry.endswith("/"):
            listed.append("/".join(stack))
    assert len(listed) == len(set(listed))
    shown = {p for p in listed if p.split("/")[0] in (*TOP, "cluster", "benchmarks")}
    tracked = subprocess.run(
        ["git", "ls-files", *TOP, "cluster", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    real = {f for f in tracked.stdout.splitlines() if not f.endswith("__init__.py") and (ROOT / f).exists()}
    assert shown == real


def test_every_module_is_used_by_a_test():
    files = [p for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__)]
    imported = {m for p in files for m in ours(p)}
    text = "\n".join(p.read_text() for p in files)
    unused = []
    for path in SOURCES:
        module = name(path).removesuffix(".py").replace("/", ".")
        if path.name == "__init__.py" or module.startswith("jobs.recipes"):
            continue
        mirrored = ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.stem}.py"
        mirrored = Path(str(mirrored).replace("/tests/pipeline/", "/tests/"))
        used = any(m == module or m.startswith(module + ".") for m in imported) or name(path) in text
        if not used and not mirrored.exists():
            unused.append(module)
    assert unused == []
