"""Chaos: a whole cluster of real processes is broken on purpose while people talk, and the oracle judges.

Belongs here: the replicated cluster, the faults and their plan, the people who talk, the figures of a run. Never here:
what is promised and how it is judged; that is :mod:`tests.oracle`, which tests/unit/test_oracle.py proves.
"""
