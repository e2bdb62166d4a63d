"""At which addresses a node says that it is reached."""

import ipaddress

from multiaddr.utils import get_network_addrs  # type: ignore[import-untyped]

from hub.backbone.settings import BackboneSettings


def told_addresses(settings: BackboneSettings) -> list[str]:
    """What others are told in place of what is listened on; nothing where that is the same.

    A node that listens everywhere is reached at each address of its machine; `0.0.0.0` is nobody's.
    """
    if settings.announce or not any("/0.0.0.0/" in text or "/ip6/::/" in text for text in settings.listen):
        return list(settings.announce)
    told = []
    for text in settings.listen:
        for version, anywhere in ((4, "/ip4/0.0.0.0/"), (6, "/ip6/::/")):
            if text.startswith(anywhere):
                told += [f"/ip{version}/{host}/{text.removeprefix(anywhere)}" for host in _hosts(version)]
                break
        else:
            told.append(text)
    return told


def _hosts(version: int) -> list[str]:
    """The addresses of this machine that another one may reach; its loopback when there are none."""
    found = [str(host) for host in get_network_addrs(version)]
    return [host for host in found if not ipaddress.ip_address(host).is_link_local] or [
        "127.0.0.1" if version == 4 else "::1"
    ]
