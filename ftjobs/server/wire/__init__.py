"""The wire: one file a noun."""
