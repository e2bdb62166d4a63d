"""An elder node: what it stores within its quota, what it pins, and how it keeps that sound."""
