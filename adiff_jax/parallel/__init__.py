"""Where arrays live: the device mesh, sharding rules by parameter path."""
