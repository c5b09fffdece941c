"""The same work by hand, as people would write it without Interlock."""
