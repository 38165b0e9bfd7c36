"""How records get home: written to disk first, sent until the database has them, evicted with a trace.

:mod:`spool` keeps, :mod:`outbox` fills it, :mod:`uplink` empties it, :mod:`states` tells the present.
"""
