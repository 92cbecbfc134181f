"""Many machines: one suite over all devices of a cluster. The engine is Ray; nothing else of the package
knows of it."""
