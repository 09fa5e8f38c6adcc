"""What has to be: from a spec and what was observed to every object, step and word of status. Pure.

One module builds one kind of thing. Nothing here reads a clock, draws a random number or talks to anybody: that is
``chatoperator.observe`` and ``chatoperator.apply``.
"""
