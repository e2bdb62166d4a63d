"""Why an account hears no more than everybody: the codes that a vault says, and what listeners are told."""

WORDS = {
    "premium_none": "This artist gives nobody more to hear for what an account holds: buy the track instead.",
    "premium_not_enough": "This account does not hold enough of the token for the whole track.",
    "pass_none": "This account has no pass of this artist's.",
    "pass_expired": "The pass of this account is over: with another one it plays on.",
    "premium_unchecked": "The artist's vault cannot ask the chain just now: try again in a moment.",
    "bad_sign_in": "The sign-in could not be read: sign in again.",
    "sign_in_forged": "The sign-in was not signed by the account that it names.",
    "sign_in_other_page": "The account was shown by another page: sign in again here.",
    "sign_in_other_chain": "The account was shown for another chain than the artist's.",
    "sign_in_expired": "The sign-in is over: sign in again, and check this device's clock.",
    "sign_in_early": "The sign-in is of a time to come: check this device's clock.",
    "sign_in_too_long": "A sign-in is good for a day at most: sign in again.",
}
