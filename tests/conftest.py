"""What holds for every test."""

import os

from hypothesis import settings

# No test may find, or ask for, a key in the keyring of whoever runs it.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# How long an example takes says more of the machine than of the code.
settings.register_profile("ftjobs", deadline=None)
settings.load_profile("ftjobs")
