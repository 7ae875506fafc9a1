"""SAML 2.0, service provider side. `provider.py` is the adapter; XML is read in a child process only."""
