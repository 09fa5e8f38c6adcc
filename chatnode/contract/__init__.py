"""The contract as documents: JSON Schemas, AsyncAPI 3 for the socket, OpenAPI 3.1 for HTTP, all made from the code.

``python -m chatnode.contract`` writes them into ``docs/contract/``; a test fails when they differ. Belongs here: how
the protocol is described. Never here: what it is; that is :mod:`chatnode.protocol`, and routes are the transports'.
"""
