"""Words of strangers as one line that can be shown and written down."""


def clean_text(text: str, limit: int) -> str:
    """One line without control, format and unassigned characters, trimmed, at most `limit` characters."""
    # Surrogates are what undecodable bytes of a file name look like; they cannot be written as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    kept = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(kept.split())[:limit].strip()
