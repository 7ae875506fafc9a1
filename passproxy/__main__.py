"""`python -m passproxy` is the `passproxy` command."""

from passproxy.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
