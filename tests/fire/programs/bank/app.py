"""The app of the torture: accounts, counters and jobs that leave a mark of everything that they do."""

from interlock import App

app = App()
