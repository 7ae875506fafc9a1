"""The composition root: settings in, a running server out. The only floor that knows all others below the commands."""
