"""A whole cluster in one process on virtual time, against a broker and a database that misbehave as measured.

Belongs here: what stands in for NATS and MongoDB (one level below the adapters, so that those run too), virtual time,
plans of commands and faults, their shrinking, and the mutations that prove that the whole can say no. Never here: a
second implementation of anything in chatnode or chatclient; their own code runs.
"""
