"""Errors by whose fault they are. Each has a stable `code`, a sentence for people, and its facts."""


class DigmError(Exception):
    """A failure with a name.

    Args:
        code: stable, snake_case; what programs, tests and documents refer to.
        message: one sentence that says what is wrong and, where somebody can act, what to do.
        data: the facts, for logs and API answers. Never keys, tokens or whole addresses.
    """

    def __init__(self, code: str, message: str, **data: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class PeerFault(DigmError):
    """The other side broke the rules: drop what it sent, score it, ask elsewhere."""


class CallerFault(DigmError):
    """Our caller's mistake or the user's input: the sentence says what to do about it."""


class Unavailable(DigmError):
    """Nobody's fault: not here or not now. Try again, or another source."""
