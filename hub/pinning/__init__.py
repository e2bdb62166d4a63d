"""Pins, audits and fresh index of a running node: the rules are in `digm`, here are disk, clock and network."""
