"""`python -m interlock.cli` is the command `interlock`."""

from interlock.cli import main

main()
