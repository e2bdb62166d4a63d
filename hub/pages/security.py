"""Response headers that keep a page to itself: no third parties, nothing inline, no frame but the widget."""

from hub.api.addresses import Addresses


def content_security_policy(addresses: Addresses, is_embeddable: bool, has_player: bool) -> str:
    """The policy of a page (CSP Level 3).

    The hub's origin is written out: inside a sandboxed frame the page's own origin is opaque, and browsers
    differ in what `'self'` means there. `data:` is for the empty zip that Pyodide is started with, `blob:`
    for MediaSource.

    Args:
        has_player: it fetches from gateways, also from those that come up while it is open: by name they could
            not be allowed (docs/decisions/0021-a-page-may-ask-any-gateway.md).
    """
    own = f"'self' {addresses.hub}"
    sockets = " ".join((addresses.sockets, *addresses.other_sockets))
    gateways = f" {addresses.gateway} {_anywhere(addresses.hub)}" if has_player else ""
    directives = {
        "default-src": "'none'",
        "script-src": f"{own} 'wasm-unsafe-eval'",
        "style-src": own,
        "img-src": f"{own} blob:",
        "font-src": own,
        "connect-src": f"{own} {sockets}{gateways} data:",
        "media-src": "blob:",
        "worker-src": own,
        "manifest-src": own,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "*" if is_embeddable else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


def _anywhere(hub: str) -> str:
    """Without TLS a page may ask gateways that have none either; with TLS browsers would not let it."""
    return "https:" if hub.startswith("https:") else "http: https:"
