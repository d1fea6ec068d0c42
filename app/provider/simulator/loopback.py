"""Keeps the simulator on this machine: it neither listens nor sends elsewhere."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether this is `localhost` or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
