"""A share of a token bucket, taken in batches: most messages then cost a subtraction, no look at the time."""

from digm.token_bucket import TokenBucket

BATCH = 16  # what a session may still say when a bucket that it shares with others is empty


class SwarmBucket(TokenBucket):
    """The bucket of one swarm.

    Attributes:
        relayed: messages that were passed on in it.
    """

    __slots__ = ("relayed",)

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        super().__init__(rate_per_s, burst, now)
        self.relayed = 0


class Allowance:
    """What one session may use of one bucket.

    Attributes:
        left: messages that are paid for already.
    """

    __slots__ = ("bucket", "left")

    def __init__(self, bucket: SwarmBucket) -> None:
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
