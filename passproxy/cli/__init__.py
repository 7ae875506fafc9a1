"""The `passproxy` command."""


def main() -> int:
    return 0
