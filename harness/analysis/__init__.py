"""From visits to figures, ratios, verdicts and findings: frames in, frames out. No file, no process."""
