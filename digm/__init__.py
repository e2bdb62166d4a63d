"""The format and the protocols of DIGM, sans-IO: bytes, times and random bytes in, events and bytes out.

Only the standard library is used, so that the same files run in CPython and in the page (Pyodide). Sockets,
clocks, randomness, logging and threads belong to the rooms around this one.
"""
