"""Where jobs run: every backend meets the protocols of `base`."""
