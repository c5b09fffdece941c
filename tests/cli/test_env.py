"""`interlock env`: what is bound to what, and that no secret is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import interlock
from tests.mounting.distributions import write

APP = {
    "told/__init__.py": "",
    "told/rates.py": """
        from interlock import Component

        component = Component("rates", env={"API_KEY": str, "LEVEL": str, "AT": str, "DEBUG": str | None})
    """,
    "told/app.py": """
        from interlock import App, secret

        from .rates import component

        app = App(env={"RATES_KEY": str, "URL": str})
        bound = {"API_KEY": secret(app.env.RATES_KEY), "LEVEL": "info", "AT": app.env.URL}
        app.use(component, isolation="inline", env=bound)
    """,
}


def test_it_tells_what_binds_each_variable_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, APP)
    monkeypatch.setenv("RATES_KEY", "sk-123")
    monkeypatch.setenv("URL", "https://me:sk-123@rates.example")
    answer = interlock("env", str(tmp_path / "told"), "--json")
    assert answer.exit_code == 0 and "sk-123" not in answer.stdout
    told = {(row["mount"], row["name"]): (row["bound_to"], row["is_secret"], row["value"]) for row in json.loads(answer.stdout)}
    assert told == {
        ("", "RATES_KEY"): (None, False, "…"),
        ("", "URL"): (None, False, "https://me:…@rates.example"),
        ("rates", "API_KEY"): ("secret(env.RATES_KEY)", True, None),
        ("rates", "LEVEL"): ("a literal", False, "info"),
        ("rates", "AT"): ("env.URL", False, "https://me:…@rates.example"),
        ("rates", "DEBUG"): (None, False, None),
    }
    assert "sk-123" not in interlock("env", str(tmp_path / "told")).stdout


def test_a_variable_that_is_missing_is_told_as_a_start_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, APP)
    monkeypatch.delenv("RATES_KEY", raising=False)
    answer = interlock("env", str(tmp_path / "told"))
    assert answer.exit_code != 0 and "RATES_KEY is not set" in answer.stderr
