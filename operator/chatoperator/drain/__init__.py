"""Taking nodes away without anybody noticing: who goes, in which steps, at which pace. Pure.

What belongs here: choosing victims, the steps of a batch, what each pod is to be told and marked with, the pace of
reconnects. What never does: how many nodes are needed (``chatoperator.autoscale``), a clock, a socket.
"""
