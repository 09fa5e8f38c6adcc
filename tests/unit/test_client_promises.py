"""The client's machine against a node that fails in every way that the protocol allows, judged by the oracle."""

import itertools
import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from chatclient.ladder import LADDER, End, Ladder, Transport
from chatclient.machine import Machine, State, Timing
from chatclient.outputs import Dial, DropProbe, HangUp, Probe, ProbeWrite, Reject, Settle, Switch, Write
from chatnode.protocol.codec import decode_server_frame
from chatnode.protocol.events import MessageEvent, StoredEvent
from chatnode.protocol.frames import Ack, Edit, Position, React, Send, StoredCommand
from tests.oracle import Acked, Invoked, Record, Settled, judge
from tests.oracle.effects import place
from tests.oracle.recording import EventRecorder
from tests.unit.model_node import ModelNode, Session, kind_of

ROOMS = ("r", "s")
STORED_KINDS = {"message", "edit", "delete", "reaction"}


class Person:
    """One machine, the connection that it has, and the log of what it says."""

    def __init__(self, name: str, node: ModelNode, records: list[Record], ids: Callable[[], str]) -> None:
        self.name = name
        self.node = node
        self.records = records
        self.ids = ids
        self.recorder = EventRecorder(name)
        ladder = Ladder(probe_s=0.5)
        self.machine = Machine(
            Timing(events=4), ids=ids, draw=lambda: 0.5, wall=lambda: 0.0, renewable=True, ladder=ladder
        )
        self.session: Session | None = None
        self.probe: Session | None = None
        self.blocked: frozenset[Transport] = frozenset()
        """Transports that do not get through."""
        self.switches = 0
        self.now = 0.0
        self.waiting: dict[str, StoredCommand] = {}
        self.machine.start(self.now)
        self.work()

    def work(self) -> None:
        """Do what the machine says."""
        for output in self.machine.outputs():
            match output:
                case Write(data):
                    if self.session:
                        self.session.incoming.append(data)
                case Settle(call, Ack() as ack) if call in self.waiting:
                    self.acked(call, ack)
                case Reject():
                    raise AssertionError(output)
                case Dial() | HangUp() | Probe() | ProbeWrite() | DropProbe() | Switch():
                    self.connect(output)
                case _:
                    pass

    def connect(self, output: Dial | HangUp | Probe | ProbeWrite | DropProbe | Switch) -> None:
        match output:
            case Dial(transport):
                if transport in self.blocked:
                    self.machine.ended(self.now, End(), "blocked")
                else:
                    self.session = self.node.connected(self.name)
                    self.machine.opened(self.now, "token")
                self.work()
            case HangUp():
                self.hang_up()
            case Probe(transport):
                if transport in self.blocked:
                    self.machine.probe_ended(self.now, End())
                else:
                    self.probe = self.node.connected(self.name)
                    self.machine.probe_opened("token")
                self.work()
            case ProbeWrite(data):
                if self.probe:
                    self.probe.incoming.append(data)
            case DropProbe():
                self.drop_probe()
            case Switch():
                self.hang_up()
                self.session, self.probe = self.probe, None
                self.switches += 1

    def acked(self, call: str, ack: Ack) -> None:
        del self.waiting[call]
        assert isinstance(ack.room, str)
        assert isinstance(ack.epoch, int)
        assert isinstance(ack.seq, int)
        at = Position(ack.epoch, ack.seq)
        self.records.append(Acked(at=0, client=self.name, user=self.name, command=call, room=ack.room, position=at))

    def hang_up(self) -> None:
        if self.session:
            self.node.cut(self.session)
        self.session = None

    def drop_probe(self) -> None:
        if self.probe:
            self.node.cut(self.probe)
        self.probe = None

    def cut_probe(self) -> None:
        if self.probe:
            self.drop_probe()
            self.machine.probe_ended(self.now, End())
            self.work()

    def store(self, command: StoredCommand) -> None:
        self.records.append(Invoked(at=0, client=self.name, user=self.name, command=command))
        self.waiting[command.id] = command
        self.machine.store(self.now, command)
        self.work()

    def subscribe(self, room: str) -> None:
        self.recorder.asked(room, 0, None)
        self.machine.subscribe(self.now, self.ids(), room, None, None)
        self.work()

    def cut(self, code: int | None) -> None:
        self.hang_up()
        self.machine.closed(self.now, code, "")
        self.work()

    def receive(self) -> bool:
        if self.probe and self.probe.out:
            self.machine.probe_received(self.now, self.probe.out.popleft())
            self.work()
            return True
        if not self.session or not self.session.out:
            return False
        self.machine.received(self.now, self.session.out.popleft())
        self.work()
        return True

    def process(self) -> bool:
        if self.probe and self.probe.incoming:
            self.node.step(self.probe)
            return True
        if not self.session or not self.session.incoming:
            return False
        self.node.step(self.session)
        return True

    def take(self) -> bool:
        event = self.machine.take(self.now)
        self.work()
        if event is None:
            return False
        record = self.recorder.record(event, 0)
        if record:
            self.records.append(record)
        return True

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.machine.tick(self.now)
        self.work()


class World:
    """Two people and a node, moved on by chance; whatever happened, it comes to rest with all promises kept."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.records: list[Record] = []
        self.node = ModelNode()
        ids = map(str, itertools.count())
        self.people = [Person(name, self.node, self.records, lambda: next(ids)) for name in ("ana", "bob")]
        for person in self.people:
            for room in ROOMS:
                person.subscribe(room)

    def move(self) -> None:
        person = self.chance.choice(self.people)
        ordinary = (self.send, self.amend, self.node_works, self.frames_arrive, self.frames_arrive, self.owner_takes)
        faults = (
            self.cut,
            self.time_passes,
            self.refuse_for_now,
            self.lose_a_live_event,
            self.repeat_an_event,
            self.raise_the_epoch,
            self.repeat_a_publish,
            self.chatter,
            self.ask_to_reconnect,
            self.block_transports,
            self.cut_the_probe,
            self.fall,
        )
        self.chance.choice(self.chance.choices((ordinary, faults), (4, 1))[0])(person)

    def send(self, person: Person) -> None:
        for _ in range(self.chance.randint(1, 4)):
            person.store(Send(id=person.ids(), room=self.chance.choice(ROOMS), text="hello"))

    def amend(self, person: Person) -> None:
        begun = [event for event in self.node.stored if isinstance(event, MessageEvent)]
        if begun:
            about = self.chance.choice(begun)
            edit = Edit(id=person.ids(), room=about.room, target=place(about), text=f"mended {len(self.records)}")
            react = React(id=edit.id, room=about.room, target=place(about), emoji="+1", on=self.chance.random() < 0.7)
            person.store(self.chance.choice([edit, react]))

    def node_works(self, person: Person) -> None:
        self.some_times(person.process)

    def frames_arrive(self, person: Person) -> None:
        self.some_times(person.receive)

    def owner_takes(self, person: Person) -> None:
        self.some_times(person.take)

    def some_times(self, what: Callable[[], object]) -> None:
        for _ in range(self.chance.randint(1, 6)):
            what()

    def cut(self, person: Person) -> None:
        person.cut(self.chance.choice([None, 1001, 4001, 4004, 4502]))

    def time_passes(self, person: Person) -> None:
        person.pass_time(self.chance.choice([0.01, 0.3, 1.0, 3.0, 12.0, 26.0]))

    def refuse_for_now(self, person: Person) -> None:
        self.node.refusals += self.chance.randint(1, 3)

    def lose_a_live_event(self, person: Person) -> None:
        """Another one follows: a lost last event shows no gap, which is the node's to notice."""
        session = person.session
        if session and session.out and kind_of(session.out[-1]) in STORED_KINDS:
            lost = decode_server_frame(session.out.pop())
            assert isinstance(lost, StoredEvent)
            command = Send(id=f"e{len(self.records)}", room=lost.room, text="by eve")
            self.records.append(Invoked(at=0, client="eve", user="eve", command=command))
            self.node.append("eve", command)

    def repeat_an_event(self, person: Person) -> None:
        session = person.session
        if session and session.out and kind_of(session.out[-1]) in STORED_KINDS:
            session.out.append(session.out[-1])

    def raise_the_epoch(self, person: Person) -> None:
        self.node.epoch += 1
        for each in self.people:
            each.cut(4005)

    def repeat_a_publish(self, person: Person) -> None:
        self.node.store_copy()

    def chatter(self, person: Person) -> None:
        self.node.say_typing(self.chance.choice(ROOMS))

    def ask_to_reconnect(self, person: Person) -> None:
        if person.session and person.machine.state is State.READY:
            person.session.out.append(b'{"type":"reconnect","after_ms":500,"reason":"drain"}')

    def block_transports(self, person: Person) -> None:
        person.blocked = frozenset(self.chance.sample(LADDER, self.chance.randint(0, 2)))
        if person.machine.transport in person.blocked:
            person.cut(None)

    def fall(self, person: Person) -> None:
        """To a lower transport, from which it may climb again at once."""
        person.blocked = frozenset({Transport.WEBSOCKET})
        if person.machine.transport is Transport.WEBSOCKET:
            person.cut(None)
        for _ in range(8):
            if person.machine.transport is Transport.WEBSOCKET:
                person.pass_time(1.0)
        person.blocked = frozenset()

    def cut_the_probe(self, person: Person) -> None:
        person.cut_probe()

    def come_to_rest(self) -> None:
        self.node.refusals = 0
        for person in self.people:
            person.blocked = frozenset()
        for _ in range(500):
            moved = [step() for person in self.people for step in (person.process, person.receive, person.take)]
            if not any(moved):
                if self.quiet():
                    break
                for person in self.people:
                    person.pass_time(1.0)
        assert self.quiet()
        for person in self.people:
            for room in ROOMS:
                kept = {(event.sender, event.id): place(event) for event in reversed(self.node.room(room))}
                last = max(kept.values(), default=Position(0, 0))
                self.records.append(Settled(at=0, client=person.name, room=room, upto=last))

    def quiet(self) -> bool:
        """Everything that was sent is acked, and everybody is connected and follows all rooms."""
        return all(
            not person.waiting and person.machine.state is State.READY and self.follows_all(person)
            for person in self.people
        )

    @staticmethod
    def follows_all(person: Person) -> bool:
        session = person.session
        return session is not None and session.rooms == set(ROOMS) and not (session.incoming or session.out)


@given(st.integers(0, 2**32), st.integers(0, 300))
@settings(max_examples=400)
def test_whatever_fails_every_command_has_its_effect_once_and_nobody_misses_anything(seed: int, moves: int) -> None:
    world = World(random.Random(seed))
    for _ in range(moves):
        world.move()
        assert all(len(person.machine.inbox.events) <= 4 for person in world.people)
    world.come_to_rest()
    verdict = judge(world.records, {room: world.node.page(room) for room in ROOMS})
    assert verdict.ok, str(verdict)
    assert world.node.copies() == world.node.stuck_copies


def test_the_histories_contain_climbs_in_the_midst_of_traffic() -> None:
    """Lest the property above says nothing about the ladder."""
    switches = 0
    for seed in range(60):
        world = World(random.Random(seed))
        for _ in range(300):
            world.move()
        world.come_to_rest()
        switches += sum(person.switches for person in world.people)
    assert switches >= 30
