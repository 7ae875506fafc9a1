"""The demo: an identity provider and an application on loopback. Only the command line imports it."""
