import sys
from pathlib import Path

import pytest

from interlock.errors import MountError
from interlock.mounting.discovery import discover, excluding_requirements, find_plugin, interlock_version

from .distributions import install

WHERE = "app.py:7"


def test_a_component_is_found_by_its_entry_point(tmp_path: Path) -> None:
    install(tmp_path, "interlock-tally", "1.2.3", components={"tally": "interlock_tally.component:component"}, requires=["interlock>=0.1"])
    plugin = find_plugin("tally", discover([str(tmp_path)]), where=WHERE, interlock="0.1.0")
    assert (plugin.name, plugin.distribution, plugin.version) == ("tally", "interlock-tally", "1.2.3")
    assert plugin.module == "interlock_tally.component"


def test_discovery_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = "raise AssertionError('imported')"
    install(
        tmp_path,
        "interlock-bomb",
        components={"bomb": "interlock_bomb.component:component"},
        files={"interlock_bomb/__init__.py": bomb, "interlock_bomb/component.py": bomb},
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    plugin = find_plugin("bomb", discover(), where=WHERE)
    assert plugin.distribution == "interlock-bomb"
    assert not {name for name in set(sys.modules) - before if name.startswith("interlock_bomb")}


def test_an_unknown_component_is_refused_with_the_close_match_and_the_line_to_run(tmp_path: Path) -> None:
    install(tmp_path, "interlock-rate-limiter", components={"rate_limiter": "interlock_rate_limiter.component:component"})
    with pytest.raises(MountError) as refusal:
        find_plugin("rate_limter", discover([str(tmp_path)]), where=WHERE)
    assert str(refusal.value).startswith('app.py:7: mounts "rate_limter", which is not installed.')
    assert 'app.use("rate_limiter")' in refusal.value.remedy
    assert "pip install interlock-rate-limter" in refusal.value.remedy


def test_an_unknown_component_without_a_close_match_gets_the_install_line_alone(tmp_path: Path) -> None:
    with pytest.raises(MountError) as refusal:
        find_plugin("sharded_counter", discover([str(tmp_path)]), where=WHERE)
    assert refusal.value.remedy == "Run: pip install interlock-sharded-counter"


def test_two_distributions_with_one_entry_point_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("interlock-tally", "tally-of-another"):
        install(tmp_path, name, components={"tally": "x.component:component"})
    with pytest.raises(MountError, match=r"interlock-tally 0\.1\.0 and tally-of-another 0\.1\.0") as refusal:
        find_plugin("tally", discover([str(tmp_path)]), where=WHERE)
    assert "pip uninstall tally-of-another" in refusal.value.remedy


def test_a_second_copy_of_one_distribution_further_down_the_path_is_no_second_offer(tmp_path: Path) -> None:
    first = install(tmp_path / "first", "interlock-tally", "2.0", components={"tally": "x:component"})
    second = install(tmp_path / "second", "Interlock_Tally", "1.0", components={"tally": "x:component"})
    plugins = discover([str(first), str(second)])["tally"]
    assert [plugin.version for plugin in plugins] == ["2.0"]


def test_a_distribution_that_excludes_this_interlock_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "interlock-tally", components={"tally": "x:component"}, requires=["interlock<0.2,>=0.1"])
    installed = discover([str(tmp_path)])
    assert find_plugin("tally", installed, where=WHERE, interlock="0.1.5")
    with pytest.raises(MountError, match=r"interlock-tally 0\.1\.0, which requires interlock<0\.2,>=0\.1; this is interlock 0\.2\.0"):
        find_plugin("tally", installed, where=WHERE, interlock="0.2.0")


@pytest.mark.parametrize(
    ("requirement", "excluded"),
    [
        ("interlock>=9", True),
        ("Interlock >= 9", True),
        ("interlock[extra]>=9 ; python_version > '3'", True),
        ("interlock>=9 ; extra == 'component'", False),
        ("interlock>=9 ; python_version < '3'", False),
        ("interlock-aggregate>=9", False),
        ("interlock", False),
        ("interlock<2", False),
        ("no requirement at all !!", False),
        ("interlock>=9 ; python_version ~= 'abc'", False),
    ],
)
def test_only_requirements_on_interlock_that_apply_here_exclude(requirement: str, excluded: bool) -> None:
    assert bool(list(excluding_requirements([requirement], "1.0"))) is excluded


def test_a_release_candidate_of_interlock_counts(tmp_path: Path) -> None:
    assert list(excluding_requirements(["interlock>=0.1"], "0.2rc1")) == []


def test_an_entry_point_that_names_no_object_is_refused_with_the_line_to_write(tmp_path: Path) -> None:
    install(tmp_path, "interlock-tally", components={"tally": "interlock_tally.component"})
    with pytest.raises(MountError) as refusal:
        find_plugin("tally", discover([str(tmp_path)]), where=WHERE)
    assert 'tally = "interlock_tally.component:component"' in refusal.value.remedy


def test_a_distribution_with_broken_metadata_disturbs_no_other(tmp_path: Path) -> None:
    install(tmp_path, "interlock-tally", components={"tally": "x:component"})
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "nameless-1.dist-info").mkdir()
    (tmp_path / "nameless-1.dist-info" / "entry_points.txt").write_text("[interlock.components]\nother = y:component\n")
    assert list(discover([str(tmp_path)])) == ["other", "tally"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("entry_points.txt", b"[interlock.components]\nnothing but a name\n"),
        ("entry_points.txt", b"\xff\xfe[interlock.components]\nodd = x:component\n"),
        ("METADATA", b"\xff\xfe"),
        ("direct_url.json", b"[" * 100_000),
    ],
)
def test_files_that_no_installer_writes_disturb_no_other(tmp_path: Path, file: str, content: bytes) -> None:
    install(tmp_path, "interlock-tally", components={"tally": "x:component"})
    install(tmp_path, "interlock-odd", "1", components={"odd": "y:component"})
    (tmp_path / "interlock_odd-1.dist-info" / file).write_bytes(content)
    assert list(discover([str(tmp_path)])) == ["tally"]


def test_what_a_package_says_of_itself_is_one_short_line(tmp_path: Path) -> None:
    """It is written into files of the app, and printed."""
    version = '1.0"""\n \x0cimport os\n \x1b[2J' + "x" * 200
    install(tmp_path, "interlock-odd", "1", components={"odd": "interlock_odd.component:component"})
    (tmp_path / "interlock_odd-1.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.1\nName: interlock-odd\nVersion: {version}\n")
    told = find_plugin("odd", discover([str(tmp_path)]), where=WHERE).version
    assert told.startswith('1.0""" import os [2Jxxx') and told.isprintable() and len(told) == 100


def test_the_cache_key_follows_the_hashes_of_the_files_and_not_their_order(tmp_path: Path) -> None:
    keys = []
    x, y, changed = "x,sha256=1,1\n", "y,sha256=2,1\n", "x,sha256=9,1\n"
    for place, record in {"a": x + y, "b": y + x, "c": changed + y}.items():
        install(tmp_path / place, "interlock-tally", components={"tally": "x:component"}, record=record)
        keys.append(discover([str(tmp_path / place)])["tally"][0].cache_key)
    assert keys[0] == keys[1] != keys[2]
    assert None not in keys


def test_files_that_may_change_under_it_have_no_cache_key(tmp_path: Path) -> None:
    install(tmp_path / "a", "interlock-tally", components={"tally": "x:component"}, editable=True)
    install(tmp_path / "b", "interlock-tally", components={"tally": "x:component"}, record=None)
    assert [discover([str(tmp_path / place)])["tally"][0].cache_key for place in "ab"] == [None, None]


def test_the_running_version_is_that_of_the_installed_distribution() -> None:
    assert interlock_version() is not None
