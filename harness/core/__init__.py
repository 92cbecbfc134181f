"""What every room shares, and what both sides of the pipe speak: the standard library alone."""
