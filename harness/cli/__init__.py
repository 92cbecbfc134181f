"""The command `convscope`: flags in, a task, its answer printed, an exit code."""
