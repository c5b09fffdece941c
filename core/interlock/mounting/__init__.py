"""Mounting: what is installed, what an app mounts, and the tree of instances that comes of it.

`discovery` finds components without importing them, `app_package` and `app_loader` import an app's directory, `manifest` says as
data what an instance is, and `tree` puts all of it together and refuses what does not fit: with the mount, what is wrong and
the line to write. Nothing here runs a function or touches data.

Start at `tree.build_tree`.
"""

from interlock.mounting.app_loader import LoadedApp, load_app
from interlock.mounting.code import Code
from interlock.mounting.discovery import Plugin, discover, interlock_version
from interlock.mounting.instance import ComponentPath, Instance
from interlock.mounting.manifest import Manifest, manifest_of
from interlock.mounting.manifest_reader import manifest_from_json, parse_manifest
from interlock.mounting.names import canonical
from interlock.mounting.plugin import load_plugins
from interlock.mounting.tree import Tree, build_tree

__all__ = [
    "Code",
    "ComponentPath",
    "Instance",
    "LoadedApp",
    "Manifest",
    "Plugin",
    "Tree",
    "build_tree",
    "canonical",
    "discover",
    "interlock_version",
    "load_app",
    "load_plugins",
    "manifest_from_json",
    "manifest_of",
    "parse_manifest",
]
