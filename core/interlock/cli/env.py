"""`interlock env`: the variables of the app and of its mounts, and what binds them."""

from __future__ import annotations

from typing import Any

from interlock.cli.app_directory import Directory, find_app
from interlock.cli.console import AsJson, errors_reported, print_json, print_table


def env(directory: Directory = None, as_json: AsJson = False) -> None:
    """Print the variables of the app and of each mount, what binds them, and their values here.

    A value that some component is given as a secret is not printed, wherever it appears.

    \b
    Examples:
      interlock env
      interlock env myapp --json
    """
    with errors_reported(as_json):
        found = _variables(directory)
    if as_json:
        print_json(found)
        return
    print_table(("MOUNT", "VARIABLE", "BOUND TO", "VALUE"), [_row(variable) for variable in found])


def _variables(directory: Any) -> list[dict[str, Any]]:
    import os

    from interlock.functions.log_lines import mask
    from interlock.mounting import build_tree

    tree = build_tree(find_app(directory))
    secrets = sorted(tree.secrets(os.environ), key=len, reverse=True)
    found = []
    for path, instance in tree.by_path.items():
        held = {secret.name for secret in instance.environment.secrets(os.environ)}
        for name, value in instance.env_values(os.environ).items():
            bound = instance.environment.bindings.get(name)
            found.append(
                {
                    "mount": path,
                    "name": name,
                    "bound_to": None if bound is None else "a literal" if isinstance(bound, str) else str(bound),
                    "is_secret": name in held,
                    "value": None if value is None or name in held else mask(value, secrets),
                }
            )
    return found


def _row(variable: dict[str, Any]) -> tuple[str, ...]:
    bound = variable["bound_to"] or ("the environment" if not variable["mount"] else "-")
    value = "(secret)" if variable["is_secret"] else "-" if variable["value"] is None else variable["value"]
    return (variable["mount"] or "(app)", variable["name"], bound, value)
