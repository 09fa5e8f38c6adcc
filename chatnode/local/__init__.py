"""The whole cluster on one machine: real servers, nodes, a worker and a front door, as children of one process.

Belongs here: starting, watching and stopping processes, the demo data, and what is printed while that happens.
Never here: anything that production runs; nodes and workers do not know that this package exists.
"""
