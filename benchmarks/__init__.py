"""Measures this project beside others on one machine: ``make bench``, ``make bench-long`` (``docs/performance.md``).

===============  =======================================================================================
``load/``        the crowd of clients, a program of its own (Go): never in the process that is measured
``servers/``     contenders in Python; ``socketio/`` the one on Node.js; ``nats/`` pins the ``nats`` command
``programs``     what has to be built or installed first, outside the checkout
``crowd``        steers the crowd
``contenders``   starts each contender and says which processes are its server
``machine``      what the kernel tells about processes
``measures``     one figure each: the same for every contender
``growth``       how figures change with nodes, rooms, sockets and history
``report``       the table and ``build/bench.json``
===============  =======================================================================================
"""
