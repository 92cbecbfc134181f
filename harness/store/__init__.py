"""What is on disk: runs, baselines, and what is remembered of this machine."""
