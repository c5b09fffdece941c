"""The app that is fuzzed: something to watch, something to change, and something that takes long."""

from interlock import App

app = App()
