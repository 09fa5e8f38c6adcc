"""A history in words, for whoever looks for a cause."""

from tests.oracle.log import Acked, Delivered, HistoryRead, Invoked, Record, Refused, Subscribed
from tests.simulation.history import Outcome


def tell(outcome: Outcome) -> str:
    lines = [
        f"{action.at:9.3f}  {action.kind} who {action.who} what {action.what} for {action.seconds} s"
        for action in outcome.plan.actions
    ]
    records = outcome.log.records if outcome.log else []
    lines.extend(filter(None, map(_line, records)))
    lines.sort(key=lambda line: float(line[:9]))
    lines.extend(outcome.problems or ["all promises kept"])
    return "\n".join(lines)


def _line(record: Record) -> str | None:
    match record:
        case Invoked(command=command):
            words = f"asks {type(command).__name__} {command.id} in {command.room}"
        case Acked(command=id_, position=position):
            words = f"has ack of {id_} at {position.epoch}-{position.seq}"
        case Refused(command=id_, code=code):
            words = f"is refused {id_}: {code}"
        case Delivered(event=event):
            words = f"gets {event.sender}'s {event.id} at {event.epoch}-{event.seq} of {event.room}, prev {event.prev}"
        case Subscribed(room=room, recovered=recovered, since=since, messages=messages):
            page = "goes on" if recovered else f"has a page of {len(messages)}"
            words = f"follows {room} and {page}, since {since.epoch}-{since.seq}"
        case HistoryRead(room=room, messages=messages):
            words = f"looks back in {room}: {len(messages)} messages"
        case _:
            return None
    return f"{record.at:9.3f}  {record.client} {words}"
