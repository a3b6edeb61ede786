"""Others' clients against a real server.  They need package registries, so only `make test-clients`
runs them."""
