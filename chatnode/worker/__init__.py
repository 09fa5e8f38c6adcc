"""The worker: takes stored events from the streams into MongoDB, keeps streams and epochs in order, and tidies up.

Belongs here: what is decided about streams and watermarks (pure, :mod:`.epochs`), and the loops that carry it out.
Never here: how MongoDB or NATS are spoken to; :mod:`.main` alone wires those in.
"""
