"""Who may do what: one table of role, action and kind of room, scopes of tokens, and who may open a direct room.

Belongs here: pure decisions over roles and kinds; a refusal is a value. Never here: who somebody is, which rooms exist,
I/O, or words for people.
"""
