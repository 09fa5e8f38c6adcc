"""NATS: subjects and partitions, streams, publishing, live subjects, direct reads.

Belongs here: everything that knows NATS's names and headers. Never here: rights, sockets, MongoDB.
"""
