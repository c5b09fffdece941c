"""Settings of all tests. Async tests are run by the plugin of `interlock.testing`, which authors get too."""

from hypothesis import settings

# How long an example takes says nothing here: the machine has other work.
settings.register_profile("interlock", deadline=None)
settings.load_profile("interlock")
