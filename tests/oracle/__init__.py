"""The oracle: knows what was asked, acked, delivered and read, and says whether the promises were kept.

Belongs here: the log that tests write, the verdict over it, a recorder around the Python client. Never here: how a
cluster is run or broken; tests do that.
"""

from tests.oracle.case import Problem
from tests.oracle.log import (
    Acked,
    Delivered,
    HistoryRead,
    Invoked,
    Keeper,
    Log,
    Record,
    Refused,
    Settled,
    Subscribed,
    Unknown,
    decode_records,
    encode_record,
)
from tests.oracle.rules import Rule
from tests.oracle.verdict import Verdict, judge
from tests.oracle.watched import Watched, Witness

__all__ = [
    "Acked",
    "Delivered",
    "HistoryRead",
    "Invoked",
    "Keeper",
    "Log",
    "Problem",
    "Record",
    "Refused",
    "Rule",
    "Settled",
    "Subscribed",
    "Unknown",
    "Verdict",
    "Watched",
    "Witness",
    "decode_records",
    "encode_record",
    "judge",
]
