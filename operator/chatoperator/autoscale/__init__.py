"""How many nodes there should be: from what they say of themselves to a number and its reason in words. Pure.

What belongs here: believing samples or not, adding up, looking ahead, remembering the highest need, pacing. What never
does: which node goes and how its clients leave (``chatoperator.drain``), a clock, a socket.
"""
