"""Tests of reading audio files."""
