"""What is seen from outside: metrics, structured logs, traces, and the admin port that shows them.

Belongs here: every name of a metric, log field and span, once. Never here: what the values mean to the application, or
anything else of this project; others import this, it imports none of them.
"""
