"""Where history is kept: the :class:`~boardherd_collector.stores.base.Store` protocol and who keeps it."""
