"""The app of the soak: as much as comes in goes out. Each reload writes this file anew, with other mounts."""

from interlock import App

app = App()
