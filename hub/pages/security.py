"""Response headers that keep a page to itself: no third parties, nothing inline, no frame but the widget."""

from collections.abc import Sequence

from hub.api.addresses import Addresses


def content_security_policy(addresses: Addresses, is_embeddable: bool, gateways: Sequence[str] = ()) -> str:
    """The policy of a page with a player (CSP Level 3).

    The hub's origin is written out: inside a sandboxed frame the page's own origin is opaque, and browsers
    differ in what `'self'` means there. `data:` is for the empty zip that Pyodide is started with, `blob:`
    for MediaSource.

    Args:
        gateways: origins of others than the own gateway.
    """
    own = f"'self' {addresses.hub}"
    sockets = " ".join((addresses.sockets, *addresses.other_sockets))
    directives = {
        "default-src": "'none'",
        "script-src": f"{own} 'wasm-unsafe-eval'",
        "style-src": own,
        "img-src": f"{own} blob:",
        "font-src": own,
        "connect-src": f"{own} {sockets} {' '.join((addresses.gateway, *gateways))} data:",
        "media-src": "blob:",
        "worker-src": own,
        "manifest-src": own,
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "*" if is_embeddable else "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())
