"""Commands that measure DIGM beside its peers in one run, and print the ratio."""
