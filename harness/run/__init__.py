"""Drives the processes that measure: workers, rounds, A/B pairs, locks, and the check of the machine."""
