"""One replica's engine: puts the parts together and moves them. Synchronous, on one thread; waits for nothing.

What comes in: frames (by `Gossip`), timers, rows that reached the disk, requests of handlers and callers. After each
of them `wake` asks for one `_pump` in a later turn of the loop: look whether we may act, claim, release effects and
submissions. Whatever a part needs to remember, it keeps itself; the engine keeps only how they hang together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from actonce.agent import Agent
from actonce.children import Children
from actonce.claims import Claims
from actonce.control import Control
from actonce.desk import Desk
from actonce.doubts import Doubts
from actonce.electorate import Electorate
from actonce.errors import ActonceError, ReplicaFailed
from actonce.executor import Executor
from actonce.fenced import Fenced
from actonce.front import Front
from actonce.gossip import Gossip
from actonce.guards import Available, Guards
from actonce.inbox import Inbox, pack_payload
from actonce.journal import Recovered
from actonce.ledger import Ledger
from actonce.listening import Listeners
from actonce.majority import Majority
from actonce.membership import Membership
from actonce.memory import Memory
from actonce.merges import Merges
from actonce.messages import Bye, Want, unpack_view
from actonce.orders import Orders
from actonce.outbox import Outbox
from actonce.ownership import Member, View
from actonce.peers import About
from actonce.placement import NO_TRAITS, Traits
from actonce.poison import Poison
from actonce.polls import Polls
from actonce.quotas import Quotas
from actonce.readiness import Terms
from actonce.reclaim import RECLAIM
from actonce.routes import Routes
from actonce.running import Gate, Run
from actonce.scheduler import Scheduler, mesh_wall
from actonce.settings import Settings
from actonce.settling import Settled
from actonce.spread import Spread
from actonce.standing import Standing
from actonce.steps import Steps
from actonce.upkeep import Upkeep
from actonce.views import Views
from actonce.voting import Voting
from actonce.world import Cancel, World
from actonce_crdt import PRIORITY_MAX, Claim, CrdtError
from actonce_transports import Identity

NOTES_MAX = 1_000
"""Remembered events of the replica's own story, newest last."""


class Engine:
    """A replica between `start` and `stop`."""

    def __init__(
        self,
        world: World,
        agent: Agent,
        name: str,
        recovered: Recovered,
        settings: Settings,
        *,
        new: bool,
        address: str,
        traits: Traits = NO_TRAITS,
        roster: tuple[str, ...] = (),
        witness: bool = False,
        follow: bool = False,
        perform: Callable[[Desk, Run], Cancel],
        on_failed: Callable[[ActonceError], None],
    ) -> None:
        """
        Args:
            recovered: what the journal holds.
            new: no mesh of this agent exists yet; counts only with an empty journal.
            address: where others can dial us, or "".
            traits: how we are preferred.
            roster: names that are to vote, added by themselves: see `Electorate`.
            witness: only vote, handle no kind of task.
            follow: only hold the document: see `spread`. Never settles, so never acts.
            perform: runs a handler at the hands.
            on_failed: the replica cannot go on; it has stopped acting.
        """
        self.world, self.agent, self.settings, self.follow = world, agent, settings, follow
        self.me = Member(name, recovered.incarnation, traits)
        self.notes: deque[tuple[float, str]] = deque(maxlen=NOTES_MAX)
        self.gate = Gate(world.now)
        self.standing = Standing(name, frozenset(poll.task for poll in agent.polls.values()))
        self._guarded = any(self._needs_grants(kind) for kind in agent.tasks)
        self._on_failed = on_failed
        self._awake = False
        self._wait_settled: list[Callable[[], None]] = []
        self._beats_at = world.now()
        self.ledger = Ledger(
            world,
            name,
            world.rng.getrandbits(53),
            on_changed=self._changed,
            on_integrated=self._integrated,
            on_durable=self._durable,
        )
        self.about = self._introduce(recovered, address, witness)
        self.membership = Membership(
            self.me,
            settings,
            self.about.kinds,
            last=unpack_view(recovered.view),
            new=new and recovered.new and not follow,
            now=world.now(),
            on_view=self._view_changed,
            on_unsettled=lambda: self.views.unsettled(),
            note=self.note,
        )
        self.guards = self._make_guards(recovered.journal_id, roster)
        self.poison = Poison(world.now, self.ledger, self.membership, self.guards, restarted=not recovered.new)
        self.quotas = self._make_quotas(recovered.journal_id)
        self._make_hands(perform)
        self._make_links(recovered)
        parts = (world, self.membership, self.gossip, self.gate)
        self.views = Views(*parts, wake=self.wake, note=self.note, fail=self.fail)
        self._recovered, self.damage, self.begins = recovered, recovered.damage, recovered.new
        """What the journal lost before this start, or ""; whether nobody had acted on it yet."""
        self.views.patient = bool(self.damage)

    def _make_hands(self, perform: Callable[[Desk, Run], Cancel]) -> None:
        world, agent, settings = self.world, self.agent, self.settings
        self.memory = Memory(self.ledger, self.me.name, self.about.journal)
        self.executor = Executor(
            *(world, settings, agent, self.me, self.ledger, self.guards, self.poison, self.standing),
            perform=lambda run: perform(self.desk, run),
            when_safe=lambda run, reply: self.outbox.when_safe(run, reply),
            remember=lambda run: self.memory.write(run.writes, run.task),
            on_free=self.wake,
        )
        parts = (world, self.ledger, self.membership, self.executor, self.guards, self.poison, self.standing)
        self.claims = Claims(*parts, agent.tasks, on_takeover=self._takeover)
        self.outbox = Outbox(world.now, self.ledger, self.membership, self.gate, self.guards)
        self.inbox = Inbox(world, agent, self.ledger, self.membership, self.standing)
        self.orders = Orders(self.ledger, self.membership, self.inbox)
        self.doubts = Doubts(self.me.name, self.ledger, self.inbox, self.outbox, self.executor)
        self.upkeep = Upkeep(
            *(world, settings, agent, self.ledger, self.membership, f"{self.me.name}/{self.about.journal}"),
            wall=lambda: mesh_wall(world, self.membership),
            unfinished=lambda: self.claims.open,
        )
        asking = (self.membership, self.inbox, self.standing)
        self.scheduler = Scheduler(world, agent, self.ledger, *asking, self.note)
        self.merges = Merges(world, agent, self.ledger, *asking)
        acting = (self.gate, self.executor, self.claims, self.inbox, self.standing)
        self.control = Control(world, settings, agent, self.ledger, self.membership, *acting, self.note)
        self.desk = self._make_desk()
        self.listeners = Listeners(self.desk, self.me.name, agent.sources if self.about.kinds else {}, self.note)

    def _introduce(self, recovered: Recovered, address: str, witness: bool) -> About:
        kinds = {kind: str(one.placement) for kind, one in self.agent.tasks.items() if not (witness or self.follow)}
        whose = (self.agent.name, recovered.journal_id, recovered.incarnation, self.ledger.client_id)
        where = (address, self.settings.contact_window_s, self.world.process, self.me.traits)
        return About(*whose, kinds, *where, recovered.replaces, self.follow)

    def _make_guards(self, journal: str, roster: tuple[str, ...]) -> Guards:
        parts = (self.world, self.ledger, self.membership)
        self.electorate = Electorate(*parts, journal, roster, needed=self._guarded, note=self.note)
        self.voting = Voting(*parts, self.electorate, is_guarded=self._needs_grants)
        self.majority = Majority(*parts, self.electorate, self.voting, self._granted)
        self.fenced = Fenced(
            *(*parts, self.settings, self.agent, self.me, journal, self._granted),
            has=lambda task: self.executor.has(task),
            on_lost=lambda task: self.claims.changed([task]),
            note=self.note,
        )
        available = Available(self.me, self._granted)
        return Guards(self.agent, {"available": available, "majority": self.majority, "fenced": self.fenced})

    def _make_desk(self) -> Desk:
        steps, children = Steps(self.ledger, self.membership, self.outbox), Children(self.inbox, self.executor)
        acting = (self.outbox, self.executor, steps, self.inbox, children, self.quotas, self.memory, self.doubts)
        parts = (self.world, self.agent, self.ledger, self.membership)
        polls = Polls(*parts, self.inbox, self.outbox, self.executor, self.standing)
        return Desk(self.world, self.settings, self.agent, self.gate, *acting, polls)

    def _make_quotas(self, journal: str) -> Quotas:
        world, agent, membership = self.world, self.agent, self.membership

        def say(word: Want) -> None:
            self.gossip.tell(word)

        def submit(task: str) -> None:
            self.inbox.add(task, RECLAIM, pack_payload("the payload", None), Terms(PRIORITY_MAX))

        parts = (world, self.settings, agent, self.ledger, membership, self.electorate, journal)
        return Quotas(*parts, submit=submit, say=say, note=self.note)

    def _make_links(self, recovered: Recovered) -> None:
        world, settings, me = self.world, self.settings, Identity(self.me.name, self.about.encode())
        self.gossip = self._make_gossip()
        self.routes = Routes(world, settings, me, self.gossip, self.note)
        peers = (settings, self.about, self.ledger, self.membership, self.gossip)
        self.spread = Spread(world, *peers, lambda *denial: self.views.denied(*denial), self.fail, self.note)
        self.front = Front(world, self.routes, self.spread, recovered)
        self.gossip.discovered.given = self.front.joins

    def _make_gossip(self) -> Gossip:
        gossip = Gossip(
            *(self.world, self.settings, self.about, self.ledger, self.membership, self.memory.texts),
            seek=lambda name: self.routes.seek(name),
            free=lambda: self.claims.free,
            on_word=self._stand_down,
            on_contact=self.wake,
            on_ended=lambda about, name: self.views.ended(about, name),
            on_denied=lambda address, reason: self.views.denied(address, reason),
            on_failed=self.fail,
            on_want=self.quotas.needs.heard,
            note=self.note,
        )
        gossip.mutes = lambda member: self.voting.mutes(member) or self.quotas.leases.mutes(member)
        return gossip

    def start(self) -> None:
        """Recover from the journal and begin to tick. The transport is started by the caller, with `front`.

        Raises:
            ActonceError: the journal's content does not pass the document's checks.
        """
        if self.damage:
            self.note(f"{self.damage}: acts once it has read all from a replica that remembers")
        try:
            self.ledger.recover(self._recovered.updates)
            self.memory.texts.recover(self._recovered.texts)
        except CrdtError as error:
            raise ReplicaFailed(f"the journal holds an update that is not valid: {error}") from error
        if self._guarded:
            self.gossip.tell_kept(self.ledger.state_vector())
        self.electorate.recovered()
        self.control.changed()
        self.voting.changed(list(self.ledger.state.tasks))
        self.claims.changed(list(self.ledger.state.tasks))
        self.quotas.recover()
        self._recovered = Recovered(self._recovered.journal_id, self.me.incarnation, (), None, self._recovered.new)
        self._tick()

    def stop(self) -> None:
        """Stop acting for good, and say so. What is written still reaches the disk and the links."""
        self.gate.shut = True
        self.listeners.stop()
        self.poison.leaving(self.claims.open)
        self.quotas.part()
        if self.executor.idle:
            self.fenced.end()
        self.ledger.when_durable(lambda: self.gossip.tell(Bye()))

    def drain(self, idle: Callable[[], None]) -> None:
        """Take no new work, and call `idle` when what runs here has ended. Others take over what waits."""
        self.claims.enabled = False
        self.listeners.stop()
        self.executor.leave()
        self.fenced.leave()
        # Others may claim once they hear of it; so they must have heard before of what we claimed.
        self.ledger.when_durable(self._announce_leaving)
        self._when_idle(idle)

    def _announce_leaving(self) -> None:
        self.membership.leaving = True
        self.gossip.announce()

    def _when_idle(self, idle: Callable[[], None]) -> None:
        if self.executor.idle and self.fenced.idle and self.quotas.leave():
            self.ledger.when_durable(idle)
        else:
            self.world.call_later(self.settings.tick_s, lambda: self._when_idle(idle))

    def when_settled(self, reply: Callable[[], None]) -> None:
        """Reply once this replica has synced with the mesh and may act."""
        self._wait_settled.append(reply)
        self.wake()

    def note(self, text: str) -> None:
        """Remember an event for people."""
        self.notes.append((self.world.wall(), text))

    def fail(self, error: ActonceError) -> None:
        """Stop acting on an error of our own."""
        self.gate.shut = True
        self.listeners.stop()
        self.quotas.close()
        self._on_failed(error)

    # Time

    def _tick(self) -> None:
        if self.gate.shut:
            return
        now = self.world.now()
        self.spread.tick()
        self.membership.tick(now)
        self.electorate.tick()
        self.voting.tick()
        if now >= self._beats_at:
            self._beats_at = now + self.settings.heartbeat_s - self.settings.tick_s / 2
            self.gossip.beat()
            self.routes.beat()
        self.quotas.tick()
        self._pump()
        self.upkeep.tick(acting=now < self.gate.until and self.claims.enabled)
        self.world.call_later(self.settings.tick_s, self._tick)

    def wake(self) -> None:
        """Something changed that may let us act: look in a later turn, once for all of this turn."""
        if not self._awake:
            self._awake = True
            self.world.call_soon(self._woken)

    def _woken(self) -> None:
        self._awake = False
        self._pump()

    def _pump(self) -> None:
        if self.gate.shut or self.follow:
            return
        self.gate.until = self.membership.act_until()
        self.majority.tick()
        self.fenced.tick()
        self.executor.refresh()
        self.control.pump()
        if self.world.now() < self.gate.until:
            if not self.membership.vouches:
                self.membership.vouches = True
                self.gossip.announce()
            self.scheduler.look()
            self.desk.polls.look()
            self.merges.look()
            self.claims.pump()
        if self.membership.settled_durably:
            self.listeners.begin()
            settled, self._wait_settled = self._wait_settled, []
            for reply in settled:
                reply()
        self.outbox.pump()
        self.inbox.pump()

    # What the parts report

    def _changed(self, keys: list[str]) -> None:
        if not self.ledger.state.controls.keys().isdisjoint(keys):
            self.control.changed()
        if not self.ledger.state.rosters.keys().isdisjoint(keys):
            self.electorate.changed()
        self.voting.changed(keys)
        self.claims.changed(keys)
        self.majority.changed(keys)
        self.inbox.changed(keys)
        self.quotas.changed(keys)
        self.merges.changed(keys)
        self.doubts.changed()
        self.wake()

    def _integrated(self, clients: tuple[int, ...]) -> None:
        self.membership.integrated(clients, self.ledger.reach, self.world.now())
        if self._guarded:
            vector = {client: self.ledger.clock_of(client) for client in clients}
            self.world.journal.append([], lambda: self.gossip.tell_kept(vector))

    def _durable(self, update: bytes) -> None:
        self.gossip.push(update)
        self.spread.push(update, (self.ledger.client_id,))
        self.wake()

    def _view_changed(self, view: View) -> None:
        if self.membership.settled is Settled.NEW:
            self.quotas.found()
        self.views.changed(view)
        self._stand_down()

    def _stand_down(self) -> None:
        self.views.close_gate()
        if self.claims.give_up():
            self.note("was removed from a view as too slow: gives up what it was doing")

    def _needs_grants(self, kind: str) -> bool:
        spec = self.agent.tasks.get(kind)
        return spec is None or spec.guard == "majority"  # another version of the program may know better than ours

    def _granted(self, task: str, epoch: int, fence: int) -> None:
        self.claims.granted(task, epoch, fence)

    def _takeover(self, task: str, claim: Claim) -> None:
        self.poison.taken_over(task, claim)
        name, incarnation = claim.claimant
        self.note(f"takes {task} over from {name} (incarnation {incarnation}, epoch {claim.epoch})")
