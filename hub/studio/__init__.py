"""The artist's studio: a page on the artist's own machine that prepares, publishes and looks after music.

Plaintext and keys stay in this process: the page is served on loopback, to whoever has the address with the
token that was printed at the start (`door`). What is sold and heard is read from hub and chain; nothing is
kept here but what lies on the desk (`desk`), and that is gone with the process.
"""
