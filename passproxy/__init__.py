"""PassProxy: an inline, stateless, identity-aware reverse proxy."""

__version__ = "0.1.0"
