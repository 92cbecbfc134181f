"""Many machines: one suite over all devices of a cluster. The engine is Ray; nothing else of the package
knows of it."""

LOCAL = "local"  # in place of an address: a cluster of this machine alone
