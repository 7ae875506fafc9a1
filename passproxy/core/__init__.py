"""What is allowed, refused, sealed or rewritten, computed by plain functions: no socket, no clock, no await."""
