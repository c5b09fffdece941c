"""Nothing but tables and functions: what is measured is the engine."""

from interlock import App

app = App()
