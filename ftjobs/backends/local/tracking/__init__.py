"""The integrations of local jobs: the numbers of their steps, as other tools show them."""
