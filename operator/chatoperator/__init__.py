"""The operator: brings what runs in Kubernetes to what a ``ChatCluster`` asks for, and says truthfully how it is.

``spec`` and ``plan`` are pure; ``observe`` and ``apply`` are the I/O around them, ``reconcile`` the loop, ``handlers``
what kopf calls. Never imports ``chatnode``.
"""

__version__ = "0.1.0"
