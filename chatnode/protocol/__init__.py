"""Protocol v1: frames, events, ids, cursors, errors, limits, and the stored forms of events.

Belongs here: values that cross a process boundary, their validation, and pure functions over them.
Never here: I/O, clocks, randomness, settings, or anything else of this project.
"""
