"""Sockets: moves bytes and performs decisions, and decides nothing."""
