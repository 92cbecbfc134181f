"""Everything that is done with the project, a session each: `nox -l` lists them, `nox -s NAME` does one.

Versions come from constraints.txt, so that a session installs what was tested; torch is pinned there too,
since a plain `torch` may bring gigabytes of CUDA packages. Measuring sessions must not run beside anything
else.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "typecheck", "browser"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "virtualenv"  # uv looks elsewhere for torch

AXE = "4.14.1"
CONSTRAINTS = Path("constraints.txt").resolve()
PARALLEL = ["-n", "auto", "--dist", "loadfile"]  # what the tests of a file share is made once
FUZZED = ("suite", "layers", "lines", "header", "answer", "axis")
GIVEN: dict[str, set[str]] = {}  # by environment, what this call of nox installed in it


def install(session: nox.Session, *what: str, groups: tuple[str, ...] = ()) -> None:
    """Install under the project's constraints; what this environment was given before, not again."""
    needed = [
        requirement
        for group in groups
        for requirement in nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), group)
    ]
    given = GIVEN.setdefault(session.bin, set())
    if lacking := [one for one in (*what, *needed) if one not in given]:
        session.install("-c", str(CONSTRAINTS), *lacking)
        given.update(lacking)


@nox.session
def sweep(session: nox.Session) -> None:
    """Measure suites (default: quickstart) and make their report: `nox -s sweep -- channels groups --python
    PATH`."""
    install(session, ".")
    names, flags = split(session.posargs)
    for suite in names or ["quickstart"]:
        session.run("convscope", "run", suite, *flags, success_codes=[0, 4])
        session.run("convscope", "report", "last", *results_of(flags))


@nox.session
def report(session: nox.Session) -> None:
    """Make the report of runs (default: last): `nox -s report -- RUN RUN`."""
    install(session, ".")
    session.run("convscope", "report", *(session.posargs or ["last"]))


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, against the installed package: `nox -s tests -- -k rounds`."""
    install(session, ".", groups=("tests",))
    session.run("pytest", *(session.posargs or PARALLEL))


@nox.session(python=["3.11", "3.12", "3.13"])
def planner(session: nox.Session) -> None:
    """The planner's tests under each Python that is there: `nox -s planner-3.13`."""
    install(session, ".", groups=("tests",))
    session.run(
        "pytest", *PARALLEL, "-m", "not torch and not cuda and not browser and not slow", *session.posargs
    )


@nox.session
def simulations(session: nox.Session) -> None:
    """What the statistics promise, in many simulated runs."""
    install(session, ".", groups=("tests",))
    session.run("pytest", "-n", "auto", "--dist", "loadgroup", "-m", "slow")


@nox.session
def store(session: nox.Session) -> None:
    """Histories and runs in a bucket, as moto serves it."""
    install(session, ".", groups=("tests",))
    # without our constraints: s3fs asks for the fsspec of its own day
    session.install(*nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "store"))
    session.run(
        "pytest", "tests/test_history_store.py", "tests/test_copies.py", "-W", "ignore", *session.posargs
    )


@nox.session
def history(session: nox.Session) -> None:
    """History from end to end: 10,000 runs, thirty real ones with a planted change, a bisection (an hour)."""
    install(session, ".")
    for what in session.posargs or ["large", "planted", "bisect"]:
        session.run("python", "benchmarks/history.py", what)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, spelling, who may import whom, and the workflows."""
    install(session, groups=("lint",))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("lint-imports")
    workflows = sorted(map(str, Path(".github", "workflows").glob("*.yml")))
    session.run("zizmor", "--offline", *workflows, "action.yml")
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml")


@nox.session
def typecheck(session: nox.Session) -> None:
    """mypy --strict over harness/."""
    install(session, ".", groups=("typecheck",))
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The documents as a site, in docs/_build; a warning is an error."""
    install(session, ".", groups=("docs",))
    session.run("sphinx-build", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build")


@nox.session
def browser(session: nox.Session) -> None:
    """The report in a headless Chromium, light and dark."""
    install(session, ".", groups=("browser",))
    require_chromium(session)
    asked = ["-n", "auto", "-m", "browser", "tests/test_browser.py", *session.posargs]
    session.run("pytest", *asked, env=axe(session))


@nox.session
def cluster(session: nox.Session) -> None:
    """A suite on a real Ray cluster of this machine: nodes and drivers that are killed (three minutes). With
    a name of `benchmarks/cluster.py`, from end to end: `nox -s cluster -- nodes`."""
    install(session, ".", groups=("cluster",))
    for what in session.posargs:
        session.run("python", "-m", "benchmarks.cluster", what)
    if not session.posargs:
        session.run("pytest", "-m", "cluster", "tests/test_cluster.py")


@nox.session
def checks(session: nox.Session) -> None:
    """All that CI asks beside the tests, in one environment."""
    install(session, ".", groups=("tests", "lint", "typecheck", "docs", "browser", "cluster", "fuzz"))
    for check in (lint, typecheck, docs, simulations, fuzz, browser, cluster, gpu, bare):
        check(session)


@nox.session
def ab(session: nox.Session) -> None:
    """Two environments side by side, from two requirement strings: `nox -s ab -- torch==2.12.0 torch==2.13.0
    regression`."""
    if len(session.posargs) < 2:
        session.error(
            "give two requirements, of the base and of the head: "
            "nox -s ab -- torch==2.12.0 torch==2.13.0 [SUITE] [FLAGS]"
        )
    install(session, ".")
    pythons = [
        environment_of(session, side, requirement)
        for side, requirement in zip(("base", "head"), session.posargs, strict=False)
    ]
    names, flags = split(session.posargs[2:])
    sides = ["--base-python", pythons[0], "--head-python", pythons[1]]
    session.run("convscope", "ab", *(names or ["regression"]), *sides, *flags, success_codes=[0, 1, 3, 4])
    session.run("convscope", "report", "last", *results_of(flags))
    session.run("convscope", "compare", "last", "--only", "regressed", *results_of(flags))


@nox.session
def releases(session: nox.Session) -> None:
    """An environment for each requirement, all as arms of one run: `nox -s releases -- torch==2.12.0
    torch==2.13.0 regression`."""
    words, flags = split(session.posargs)
    requirements = [word for word in words if "==" in word]
    if len(requirements) < 2:
        session.error(
            "give two requirements or more: nox -s releases -- torch==2.12.0 torch==2.13.0 [SUITE] [FLAGS]"
        )
    install(session, ".")
    arms = [
        f"--arm={one.replace('==', '-')}:python={environment_of(session, 'release', one)}"
        for one in requirements
    ]
    names = [word for word in words if word not in requirements]
    session.run("convscope", "versus", *(names or ["regression"]), *arms, *flags, success_codes=[0, 4])


@nox.session
def regression(session: nox.Session) -> None:
    """The gate: suite regression against the baseline NAME (default: main), made where none fits; every
    output into reports/."""
    install(session, ".")
    names, flags = split(session.posargs)
    name = (names or ["main"])[0]
    session.run("convscope", "run", "regression", *flags, success_codes=[0, 4])
    session.run("convscope", "report", "last", *results_of(flags))
    Path("reports").mkdir(exist_ok=True)
    compared = ["convscope", "compare", name, "last", *results_of(flags)]
    for form, file in (
        ("--md", "regression.md"),
        ("--junit", "regression.xml"),
        ("--json", "regression.json"),
    ):
        with (Path("reports") / file).open("w", encoding="utf-8") as out:
            session.run(*compared, "--create", form, stdout=out, success_codes=[0, 1, 3, 4])
    for form in ("pytest-benchmark", "smaller-is-better"):
        session.run(
            "convscope", "export", "last", "--to", form, "--out", f"reports/{form}.json", *results_of(flags)
        )
    session.run(*compared)


@nox.session
def gate(session: nox.Session) -> None:
    """What the gate promises, on this machine: real A/Bs with and without a planted slowdown, quiet and
    beside a busy loop (an hour)."""
    install(session, ".")
    session.run("python", "benchmarks/planted.py", "--runs", "3")
    session.run("python", "benchmarks/planted.py", "--runs", "5", "--busy")


@nox.session
def robust(session: nox.Session) -> None:
    """What a run withstands: kills, failing writes, hostile workers, damaged folders, mutated suites, a crowd
    of commands (an hour and a half): `nox -s robust -- kills`."""
    install(session, ".")
    for what in session.posargs or ["suites", "folders", "crowd", "writes", "kills", "worker"]:
        session.run("python", "benchmarks/robust.py", what)


@nox.session
def fuzz(session: nox.Session) -> None:
    """What reads other people's files, under coverage-guided mutation (half a minute): `nox -s fuzz -- suite
    --seconds 600`."""
    install(session, ".", groups=("fuzz",))
    asked = [session.posargs] if session.posargs else [[what, "--seconds", "4"] for what in FUZZED]
    for words in asked:
        session.run("python", "benchmarks/fuzz.py", *words, silent=not session.posargs)


@nox.session
def audit(session: nox.Session) -> None:
    """Known weaknesses of the versions in constraints.txt, by pip-audit."""
    session.install("-c", str(CONSTRAINTS), "pip-audit")
    session.run("pip-audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip")


@nox.session
def causes(session: nox.Session) -> None:
    """Whether the causes hold that are named here, on this machine: splits, torch's rules of dispatch,
    scripts, advice (20 minutes)."""
    install(session, ".")
    for what in session.posargs or ["splits", "dispatch", "repro", "advice"]:
        session.run("python", "benchmarks/causes.py", what)


@nox.session
def asked(session: nox.Session) -> None:
    """The layers that people asked about (docs/asked.md), answered on this machine (ten minutes)."""
    install(session, ".")
    session.run("python", "benchmarks/asked.py", *session.posargs)


@nox.session
def bare(session: nox.Session) -> None:
    """The worker in an environment that holds torch and nothing else, of another Python too: `nox -s bare --
    python3.10`."""
    install(session, ".")
    creator = session.posargs[0] if session.posargs else "python"
    measured = environment_of(session, f"bare-{Path(creator).name}", "torch", creator)
    session.run("convscope", "measure", "depthwise", "--in", "128", "--python", measured)


@nox.session
def load(session: nox.Session) -> None:
    """Measure the run-queue share of quickstart's cases, quiet and beside a busy loop."""
    install(session, ".")
    session.run("python", "benchmarks/load.py", *session.posargs)


@nox.session
def agreement(session: nox.Session) -> None:
    """Compare our blocks with torch.utils.benchmark's on the same tensors; samples of many calls with one;
    and what a visit costs with its bound."""
    install(session, ".")
    session.run("python", "benchmarks/agreement.py", *session.posargs)
    session.run("python", "benchmarks/linearity.py")
    session.run("python", "benchmarks/fixed_cost.py")


@nox.session
def gpu(session: nox.Session) -> None:
    """The CUDA path against its bounds: `nox -s gpu -- --out FOLDER`; without words, on the CPU, that the
    program itself runs (a minute)."""
    install(session, ".")
    parts = ("checks", "ceilings", "reference_a", "roofline", "turns", "anchors")
    asked = session.posargs or ["--device", "cpu", "--out", session.create_tmp(), "--only", *parts]
    session.run("python", "benchmarks/gpu.py", *asked)


@nox.session
def calibrate(session: nox.Session) -> None:
    """How far a figure may be believed on this machine, ours and others': `nox -s calibrate -- --processes 5`
    (20 take 80 minutes)."""
    install(session, ".", groups=("calibrate",))
    session.run("python", "benchmarks/calibrate.py", *session.posargs)


def environment_of(session: nox.Session, name: str, requirement: str, creator: str = "python") -> str:
    """The interpreter of an environment of its own that holds one requirement and nothing of ours; made once,
    by another interpreter."""
    folder = Path(session.create_tmp()).resolve() / re.sub(r"[^\w.]+", "-", f"{name}-{requirement}")
    made = folder / "made"
    if not made.exists():
        session.run(creator, "-m", "venv", "--clear", str(folder), external=True)
        # a version that is asked for may be another than ours
        constraints = () if "==" in requirement else ("-c", str(CONSTRAINTS))
        session.run(str(folder / "bin" / "pip"), "install", "-q", *constraints, requirement, external=True)
        made.touch()
    return str(folder / "bin" / "python")


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Names of suites, and the flags after them."""
    first = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    return arguments[:first], arguments[first:]


def results_of(flags: list[str]) -> list[str]:
    """The flag that names the folder of runs, for the commands after the one that measured."""
    at = next((i for i, flag in enumerate(flags) if flag.partition("=")[0] == "--results"), len(flags))
    return flags[at : at + (1 if "=" in "".join(flags[at : at + 1]) else 2)]


def axe(session: nox.Session) -> dict[str, str]:
    """axe-core, the checker of accessibility, from npm; without npm its tests are skipped."""
    script = Path(session.create_tmp()).resolve() / "package" / "axe.min.js"
    if not script.is_file() and shutil.which("npm"):
        with session.chdir(session.create_tmp()):
            session.run("npm", "pack", "--silent", f"axe-core@{AXE}", external=True)
            session.run("tar", "-xzf", f"axe-core-{AXE}.tgz", external=True)
    return {"CONVSCOPE_AXE": str(script)} if script.is_file() else {}


def require_chromium(session: nox.Session) -> None:
    """Install Debian's Chromium where there is none and we may; else say how."""
    if shutil.which("chromium"):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "update", "-qq", external=True)
        session.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", external=True)
    else:
        session.error(
            "no chromium on the PATH. Install it (Debian: apt-get install chromium) "
            "and run this session again."
        )
