"""From TOML and flags to the cases to measure. Reads suites and layer lists; starts no process."""
