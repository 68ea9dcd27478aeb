"""One pass of the token loop for every scheduler: who takes part, and what it does."""

from __future__ import annotations

from contracts.engine import (
    CapacityPolicy,
    PreemptionOrder,
    QueuePolicy,
    SglangScheduling,
    TrtllmScheduling,
)
from contracts.ports import PrefillChunk
from contracts.units import fs_to_ns_ceil
from simcore.engine.events import EngineEvent, EventKind
from simcore.engine.oracle.state import BlockKey, Item, RankState
from simcore.engine.schedulers.sglang import (
    DECAY_STEPS,
    INIT_RATIO,
    LPM_QUEUE_MAX,
    MIN_RATIO_FACTOR,
    RETRACT_STEPS,
)


class Pass:
    """The requests of one step.

    Attributes:
        members: running requests that decode.
        work: (request, new tokens, first of them) with a prompt chunk, or joining.
        found: cached blocks of admitted requests.
        victims: requests that lose their blocks.
    """

    def __init__(self) -> None:
        self.members: list[Item] = []
        self.work: list[tuple[Item, int, int]] = []
        self.found: dict[int, list[BlockKey]] = {}
        self.victims: list[Item] = []
        self.exhausted = False
        self.front = True

    @property
    def empty(self) -> bool:
        """Nothing would happen."""
        return not (self.members or self.work or self.victims)

    @property
    def decoding(self) -> list[Item]:
        """Members, and waiting requests whose KV cache came with them."""
        return self.members + [item for item, _, _ in self.work if item.transferred]

    @property
    def chunks(self) -> list[PrefillChunk]:
        """Prompt work."""
        return [
            PrefillChunk(tokens, start) for item, tokens, start in self.work if not item.transferred
        ]

    def free(self, rank: RankState) -> int:
        """Blocks left for this pass, counted from scratch."""
        size = rank.blocks
        alive = [item for item in self.members if item not in self.victims]
        taken = sum(size(item.computed + 1) - size(item.computed) for item in alive)
        pinned: set[int] = set()
        for item, tokens, start in self.work:
            held = len(self.found.get(id(item), []))
            own = held if item.state == "waiting" else size(item.computed)
            taken += size(start + tokens) - own
            pinned |= {segment for segment, _ in self.found.get(id(item), [])}
        taken += sum(len(rank.cache[s]) for s in pinned if rank.held_by_nobody(s))
        return rank.limits.kv_blocks_total - rank.used(without=self.victims) - taken

    def apply(self, rank: RankState, at_fs: int, events: list[EngineEvent]) -> None:
        """The step has ended."""
        rank.full = rank.full or self.exhausted
        self._change_places(rank)
        for item in self.members:
            item.computed += 1
        for item, tokens, start in self.work:
            item.computed = start + tokens
        rank.evict()
        for item in self.members:
            _sample(rank, item, at_fs, events)
        for item, _, _ in self.work:
            rank.publish(item)
            item.state = "prefill"
            if item.computed == item.known:
                _sample(rank, item, at_fs, events)

    def _change_places(self, rank: RankState) -> None:
        """Admitted requests run, victims wait again."""
        for item, _, _ in self.work:
            if item.state == "waiting":
                rank.waiting.remove(item)
                rank.running.append(item)
                rank.hold(item, self.found.get(id(item), []))
        for victim in self.victims:
            rank.running.remove(victim)
            rank.drop_segments(victim)
            victim.computed, victim.state = 0, "waiting"
            victim.preemptions += 1
            rank.enqueue(victim, front=self.front)
        if self.victims:
            _learn(rank)
        elif self.members:
            _decay(rank)


def _sample(rank: RankState, item: Item, at_fs: int, events: list[EngineEvent]) -> None:
    item.state = "decode"
    if item.token_fs >= 0:
        rank.gaps.add(at_fs - item.token_fs, 1)
    item.token_fs = at_fs
    at_ns = fs_to_ns_ceil(at_fs)
    item.generated += 1
    request_id = item.submission.request_id
    if item.generated == 1:
        events.append(EngineEvent(at_ns, EventKind.FIRST_TOKEN, request_id, item.preemptions))
    if item.generated == item.submission.osl:
        rank.running.remove(item)
        if item.submission.hold:
            rank.kept[request_id] = item
        else:
            rank.free(item, ended=True)
        rank.full = False
        events.append(EngineEvent(at_ns, EventKind.FINISHED, request_id, item.preemptions))


def plan_pass(rank: RankState) -> Pass:
    """What the rank does next."""
    if isinstance(rank.scheduling, SglangScheduling):
        return _sglang(rank, rank.scheduling)
    return _shared_budget(rank)


def _partial(rank: RankState) -> Item | None:
    return next((item for item in rank.running if item.state == "prefill"), None)


def _adapter_blocked(rank: RankState, one: Pass, item: Item) -> bool:
    name = item.submission.adapter
    busy = {i.submission.adapter for i in rank.running}
    busy |= {i.submission.adapter for i, _, _ in one.work}
    busy.discard("")
    return bool(name) and name not in busy and len(busy) >= rank.limits.max_adapters


def _look_up(rank: RankState, one: Pass, item: Item) -> int:
    """Find the cached beginning of a waiting request; returns where its chunk starts."""
    text = item.submission.text
    found: list[BlockKey] = []
    if text is not None:
        found = rank.cached(text, (item.known - 1) // rank.limits.block_size_tokens)
        surplus = sum(len(rank.cache[s]) for s in {s for s, _ in found}) - len(found)
        whole = rank.blocks(item.submission.isl + item.submission.osl + 1)
        if surplus and whole + surplus > rank.limits.kv_blocks_total:
            found = []
    one.found[id(item)] = found
    return max(item.computed, len(found) * rank.limits.block_size_tokens)


# -- vLLM and TensorRT-LLM ---------------------------------------------------------------


def _shared_budget(rank: RankState) -> Pass:
    one = Pass()
    _decode_or_preempt(rank, one)
    budget = rank.limits.max_num_batched_tokens - len(one.members)
    budget = _continue_partial(rank, one, budget)
    if not one.victims:
        _admit(rank, one, budget)
    return one


def _decode_or_preempt(rank: RankState, one: Pass) -> None:
    for item in [i for i in rank.running if i.state == "decode"]:
        if item in one.victims:
            continue
        one.members.append(item)
        while one.free(rank) < 0 and item not in one.victims:
            victim = _victim(rank, one)
            one.victims.append(victim)
            if victim in one.members:
                one.members.remove(victim)


def _grows(rank: RankState, item: Item) -> int:
    return rank.blocks(item.computed + 1) - rank.blocks(item.computed)


def _victim(rank: RankState, one: Pass) -> Item:
    alive = [item for item in rank.running if item not in one.victims]
    if getattr(rank.scheduling, "queue", None) is QueuePolicy.PRIORITY:
        return max(enumerate(alive), key=lambda pair: (pair[1].submission.priority, pair[0]))[1]
    fifo = getattr(rank.scheduling, "preemption", None) is PreemptionOrder.FIFO
    return alive[0] if fifo else alive[-1]


def _continue_partial(rank: RankState, one: Pass, budget: int) -> int:
    partial = _partial(rank)
    if partial is None or partial in one.victims:
        return budget
    if one.free(rank) < 0:
        one.victims.append(partial)
        return budget
    tokens = min(partial.known - partial.computed, budget)
    if tokens <= 0:
        return budget
    one.work.append((partial, tokens, partial.computed))
    if one.free(rank) < 0:
        one.work.pop()
        one.victims.append(partial)
        return budget
    return budget - tokens


def _admit(rank: RankState, one: Pass, budget: int) -> None:
    for item in rank.waiting:
        new = sum(1 for i, _, _ in one.work if i.state == "waiting")
        if budget <= 0 or len(rank.running) + new >= rank.limits.max_num_seqs:
            break
        if _adapter_blocked(rank, one, item):
            continue
        start = _look_up(rank, one, item)
        tokens = min(item.known - start, budget)
        if tokens < item.known - start and not rank.limits.chunked_prefill:
            break
        if rank.kept:
            one.work.append((item, item.known - start, start))
            whole_fits = one.free(rank) >= 0
            one.work.pop()
            if not whole_fits:
                break
        one.work.append((item, tokens, start))
        if one.free(rank) < 0 or not _can_all_end(rank, one):
            one.work.pop()
            break
        budget -= tokens


def _can_all_end(rank: RankState, one: Pass) -> bool:
    """No-evict admission: everybody could run to the end with the blocks there are."""
    scheduling = rank.scheduling
    if not isinstance(scheduling, TrtllmScheduling):
        return True
    if scheduling.capacity is not CapacityPolicy.GUARANTEED_NO_EVICT:
        return True
    to_come = 0
    pinned: set[int] = set()
    for item in rank.running:
        to_come += _final(rank, item) - rank.blocks(item.computed)
    for item, _, _ in one.work:
        if item.state == "waiting":
            found = one.found[id(item)]
            to_come += _final(rank, item) - len(found)
            pinned |= {segment for segment, _ in found}
    to_come += sum(len(rank.cache[s]) for s in pinned if rank.held_by_nobody(s))
    return to_come <= rank.limits.kv_blocks_total - rank.used()


def _final(rank: RankState, item: Item) -> int:
    return rank.blocks(item.submission.isl + item.submission.osl - 1)


# -- SGLang ------------------------------------------------------------------------------


def _sglang(rank: RankState, settings: SglangScheduling) -> Pass:
    one = Pass()
    decoding = [item for item in rank.running if item.state == "decode"]
    if _partial(rank) is not None or (rank.waiting and not rank.full):
        _sglang_prompts(rank, settings, one, decoding)
        if one.work or one.victims:
            return one
    last = Pass()
    last.exhausted, last.front = one.exhausted, False
    last.members = list(decoding)
    if last.free(rank) < 0:
        _retract(rank, last)
    return last


def _sglang_prompts(
    rank: RankState, settings: SglangScheduling, one: Pass, decoding: list[Item]
) -> None:
    chunk_room = settings.chunked_prefill_tokens if rank.limits.chunked_prefill else 1 << 62
    one.members = list(decoding)
    fits = one.free(rank) >= 0
    mixed = settings.mixed_chunk and fits
    if mixed:
        chunk_room -= len(decoding)
    else:
        one.members = []
    chunk_room = _continue_partial(rank, one, chunk_room)
    if one.victims:
        one.members = []
        return
    if rank.waiting and not rank.full:
        _sglang_admit(rank, settings, one, chunk_room)
    if not one.work:
        one.members = []
    elif not mixed and all(item.transferred for item, _, _ in one.work):
        one.members = list(decoding)
        if one.free(rank) < 0:
            one.members = []


def _sglang_admit(rank: RankState, settings: SglangScheduling, one: Pass, chunk_room: int) -> None:
    size, clip = rank.limits.block_size_tokens, settings.clip_max_new_tokens
    prompt_room = settings.max_prefill_tokens - sum(tokens for _, tokens, _ in one.work)
    future = sum(
        min(item.submission.osl - item.generated, clip)
        for item in rank.running
        if item.state == "decode"
    )
    reserved = future * rank.share // 2**30
    seats = rank.limits.max_num_seqs - len(rank.running)
    for item in _sglang_order(rank, settings):
        if seats <= 0:
            one.exhausted = True
            return
        if _adapter_blocked(rank, one, item):
            continue
        start = _look_up(rank, one, item)
        found = one.found[id(item)]
        idle = {s for s, _ in found if rank.held_by_nobody(s)}
        idle -= {s for i, _, _ in one.work for s, _ in one.found.get(id(i), [])}
        room = (one.free(rank) - sum(len(rank.cache[s]) for s in idle)) * size
        output = min(item.submission.osl - item.generated, clip)
        if item.known - len(found) * size + output + reserved >= room:
            one.exhausted = True
            return
        rest = item.known - start
        if prompt_room <= 0 or chunk_room <= 0 or (one.work and rest >= prompt_room):
            return
        tokens = min(rest, chunk_room)
        one.work.append((item, tokens, start))
        reserved += output if tokens == rest else 0
        prompt_room -= tokens
        chunk_room -= tokens
        seats -= 1


def _sglang_order(rank: RankState, settings: SglangScheduling) -> list[Item]:
    waiting = list(rank.waiting)
    if settings.queue is not QueuePolicy.LONGEST_PREFIX or len(waiting) > LPM_QUEUE_MAX:
        return waiting
    size = rank.limits.block_size_tokens
    cached = {
        id(item): len(rank.cached(item.submission.text, (item.known - 1) // size))
        for item in waiting
        if item.submission.text is not None
    }
    return sorted(waiting, key=lambda item: -cached.get(id(item), 0))


def _retract(rank: RankState, one: Pass) -> None:
    order = sorted(one.members, key=lambda item: (-item.generated, item.submission.isl))
    while len(order) > 1:
        victim = order.pop()
        one.members.remove(victim)
        one.victims.append(victim)
        next_step = sum(_grows(rank, item) for item in order)
        free = one.free(rank) + next_step
        if free >= max(next_step, rank.blocks(RETRACT_STEPS * len(order))):
            break
    partial = _partial(rank)
    if one.free(rank) < 0 and partial is not None:
        one.victims.append(partial)
    if one.free(rank) < 0:
        one.victims += order
        one.members = []


def _learn(rank: RankState) -> None:
    """After a retraction the reserved share follows what was seen."""
    if not isinstance(rank.scheduling, SglangScheduling):
        return
    left = [item for item in rank.running if item.state == "decode"]
    made = sum(item.generated for item in left) + RETRACT_STEPS * len(left)
    allowed = max(1, sum(item.submission.osl for item in left))
    rank.share = min(2**30, made * 2**30 // allowed)
    rank.full = False


def _decay(rank: RankState) -> None:
    if isinstance(rank.scheduling, SglangScheduling):
        ratio = min(INIT_RATIO * rank.scheduling.conservativeness, 1.0)
        first, last = round(ratio * 2**30), round(min(ratio * MIN_RATIO_FACTOR, 1.0) * 2**30)
        rank.share = max(last, rank.share - (first - last) // DECAY_STEPS)
