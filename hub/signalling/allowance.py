"""A share of a token bucket, taken in batches: most messages then cost a subtraction, no look at the time."""

from digm.token_bucket import TokenBucket

BATCH = 16  # what a session may still say when a bucket that it shares with others is empty


class Allowance:
    """What one session may use of one bucket.

    Attributes:
        left: messages that are paid for already.
    """

    __slots__ = ("bucket", "left")

    def __init__(self, bucket: TokenBucket) -> None:
        self.bucket = bucket
        self.left = 0

    def take(self, now: float) -> bool:
        """Pay for one message."""
        if self.left:
            self.left -= 1
            return True
        if self.bucket.take(BATCH, now):
            self.left = BATCH - 1
            return True
        return self.bucket.take(1, now)
