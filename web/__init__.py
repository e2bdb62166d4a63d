"""The player: Python that runs in the browser. Only `web.browser` touches JavaScript."""
