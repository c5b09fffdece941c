"""What holds for the repository as a whole: what each distribution brings, what its wheel is worth, what no file may name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DISTRIBUTIONS = [ROOT / "core", *sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))]
ids = [path.name for path in DISTRIBUTIONS]


def project_of(distribution: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((distribution / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def tracked_files() -> list[Path]:
    """What is in the repository, or would be with the next commit; where there is no git, everything that is not made here."""
    git = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if git.returncode == 0:
        return [path for line in git.stdout.splitlines() if (path := ROOT / line).is_file()]
    made = {".venv", "node_modules", "__pycache__", ".git", "dist", "build"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not made & set(path.relative_to(ROOT).parts)]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked_files():
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=ids)
def test_every_distribution_has_types_a_readme_a_changelog_and_the_licence(distribution: Path) -> None:
    for name in ("README.md", "CHANGELOG.md"):
        assert (distribution / name).stat().st_size > 0
    package = next(path for path in distribution.iterdir() if path.name.startswith("interlock") and (path / "__init__.py").is_file())
    assert (package / "py.typed").is_file()
    assert (distribution / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
    project = project_of(distribution)
    assert project["readme"] == "README.md"
    assert project["license"] == "Apache-2.0"


def test_every_dependency_has_a_pinned_version() -> None:
    pinned = {normal(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    asked = [line for group in workspace.values() for line in group]
    own = set()
    for distribution in DISTRIBUTIONS:
        project = project_of(distribution)
        own.add(normal(str(project["name"])))
        dependencies = project["dependencies"]
        assert isinstance(dependencies, list)
        asked += [line for line in dependencies if "win32'" not in line or "!=" in line.partition(";")[2]]
    names = {normal(re.split(r"[\s\[<>=!~;]", line)[0]) for line in asked}
    assert names - pinned - own == set()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_file_names_a_package_registry() -> None:
    hosts = [
        ".".join(parts)
        for parts in (("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"), ("deb", "debian", "org"))
    ]
    configured = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    hosts += [host for host in re.findall(r"https?://(?:[^/@'\s]*@)?([^/:'\s]+)", configured) if "." in host]
    assert [f"{path.relative_to(ROOT)}: {host}" for path, text in texts() for host in hosts if host in text] == []


def test_no_file_names_a_place_on_one_machine() -> None:
    homes = re.compile(r"(?<![\w.~-])/(?:ro" r"ot|ho" r"me/\w+|wo" r"rk|Us" r"ers/\w+)/")
    strays = [f"{path.relative_to(ROOT)}: {found[0]}" for path, text in texts() for found in [homes.search(text)] if found]
    strays += [f"{path.relative_to(ROOT)}: the checkout" for path, text in texts() if f"{ROOT}/" in text]
    assert strays == []


def test_there_is_no_lock_file() -> None:
    locks = {"package-lock.json", "yarn.lock", "pnpm-lock.yaml", "uv.lock", "poetry.lock", "Pipfile.lock"}
    assert [path for path in tracked_files() if path.name in locks] == []


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheels of every distribution installed below `site`, as pip would, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("outside")
    sources = folder / "sources"
    for distribution in DISTRIBUTIONS:
        shutil.copytree(
            distribution, sources / distribution.name, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".interlock")
        )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder / "wheels")]
    run([*wheels, *(str(sources / distribution.name) for distribution in DISTRIBUTIONS)])
    shutil.rmtree(sources)
    built = sorted(map(str, (folder / "wheels").glob("*.whl")))
    assert len(built) == len(DISTRIBUTIONS)
    run([*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(folder / "site"), *built])
    return folder


def run(command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None, expected: int = 0) -> str:
    answer = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert answer.returncode == expected, f"{command} ended with {answer.returncode}:\n{answer.stdout}\n{answer.stderr}"
    return answer.stdout


class Outside:
    """Runs Python with the wheels first and the dependencies after them, and without the checkout's editable installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "INTERLOCK"))}
        dependencies = [path for path in sys.path if path.endswith("site-packages")]
        self.env["PYTHONPATH"] = os.pathsep.join([str(folder / "site"), *dependencies])
        self.env["PATH"] = f"{folder / 'site' / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def python(self, *arguments: str, expected: int = 0) -> str:
        # -S: the .pth files of the environment, which lead to the checkout, are not read.
        return run([sys.executable, "-S", *arguments], cwd=self.folder, env=self.env, expected=expected)

    def interlock(self, *arguments: str, expected: int = 0) -> str:
        return self.python("-m", "interlock.cli", *arguments, expected=expected)


def test_wheels_hold_everything_that_an_installed_interlock_needs(outside: Path) -> None:
    wheels = {wheel.name: zipfile.ZipFile(wheel).namelist() for wheel in (outside / "wheels").glob("*.whl")}
    assert [wheel for wheel, names in wheels.items() if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names)] == []
    names = [name for held in wheels.values() for name in held]
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]
    templates = {path.relative_to(ROOT / "core").as_posix() for path in (ROOT / "core/interlock/cli/templates").rglob("*.tmpl")}
    assert templates <= set(names)


def test_wheels_work_outside_the_checkout(outside: Path) -> None:
    there = Outside(outside)
    assert str(outside) in there.python("-c", "import interlock; print(interlock.__file__)")
    packages = [
        path.name for path in (outside / "site").iterdir() if path.name.startswith("interlock_") and (path / "__init__.py").is_file()
    ]
    for package in packages:
        assert str(outside) in there.python("-c", f"import {package}; print({package}.__file__)")

    there.interlock("new", "wheelapp")
    there.interlock("dev", "--once", "wheelapp")
    there.interlock("run", "messages:send", '{"author": "ada", "body": "hello"}', "--app", "wheelapp")
    assert '"hello"' in there.interlock("run", "messages:newest", "--app", "wheelapp")
