import gc
import weakref

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quickstudy.hub.service.limits import Limits
from quickstudy.hub.service.served import Known, Learned
from quickstudy.hub.service.states import Held, Kept, States, new_id

LIMITS = Limits(adapted=3, live=100, memory=1_000_000)


def held(id, owner, now, size=10):
    known = Known(torch.zeros(2, size), torch.tensor([0, 1]), ("a", "b"))
    kept = Kept(id, owner, "m", "d", known, now, now + LIMITS.live)
    return Held(kept, Learned(known, {"sums": torch.zeros(2, size)}, None))


def test_what_gave_way_is_let_go_of_at_once():
    states = States(LIMITS, lambda: 0.0)
    first = held("first", "me", 0.0)
    states.put(first)
    gone = weakref.ref(first)
    del first
    for number in range(3):
        states.put(held(str(number), "me", 0.0))
    gc.collect()
    assert gone() is None
    assert states.forgotten == {"expired": 0, "quota": 1, "memory": 0}


def test_the_largest_go_by_use_not_by_size():
    states = States(LIMITS, lambda: 0.0)
    states.put(held("old", "one", 0.0, 20_000))
    states.put(held("new", "two", 0.0, 20_000))
    assert states.get("old") is not None
    states.put(held("newest", "three", 0.0, 40_000))
    assert states.get("new") is None
    assert states.bytes <= LIMITS.memory


def test_one_that_is_larger_than_all_may_have_is_held_alone():
    states = States(LIMITS, lambda: 0.0)
    states.put(held("small", "one", 0.0))
    states.put(held("large", "two", 0.0, 100_000))
    assert [one.id for one in states] == ["large"]


def test_ids_are_not_guessed():
    assert len({new_id() for _ in range(1000)}) == 1000


class Model(RuleBasedStateMachine):
    """States beside a list that does the same slowly."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.states = States(LIMITS, lambda: self.now)
        self.known = []  # id, owner, expires; used last at the end

    @rule(id=st.sampled_from("abcdefgh"), owner=st.sampled_from("xy"))
    def put(self, id, owner):
        self.states.put(held(id + owner, owner, self.now))
        self.known = [one for one in self.known if one[0] != id + owner and one[2] > self.now]
        self.known.append((id + owner, owner, self.now + LIMITS.live))
        mine = [one for one in self.known if one[1] == owner]
        for one in mine[: -LIMITS.adapted]:
            self.known.remove(one)

    @rule(id=st.sampled_from([i + o for i in "abcdefgh" for o in "xy"]))
    def get(self, id):
        found = [one for one in self.known if one[0] == id and one[2] > self.now]
        assert (self.states.get(id) is not None) == bool(found)
        for one in found:
            self.known.remove(one)
            self.known.append(one)

    @rule(id=st.sampled_from([i + o for i in "abcdefgh" for o in "xy"]))
    def drop(self, id):
        self.states.drop(id)
        self.known = [one for one in self.known if one[0] != id]

    @rule(seconds=st.floats(0, 120))
    def wait(self, seconds):
        self.now += seconds

    @rule(owner=st.sampled_from("xy"))
    def list_(self, owner):
        mine = [one[0] for one in self.known if one[1] == owner and one[2] > self.now]
        assert [one.id for one in self.states.of(owner)] == mine[::-1]

    @invariant()
    def nothing_is_counted_wrongly(self):
        assert self.states.bytes == sum(one.bytes for one in self.states)


TestStates = Model.TestCase
TestStates.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
