"""Positions as symbols in lanes, and back. Sparse rows: how deep each position goes and its tail, how many tokens lie on each level, all tokens.
Drawn ones: how many tokens each position has, drops from one to the next, how often each was drawn, all tokens.

Each of these is parted evenly into the row's lanes, of which there are as many as its tokens fill. What comes later is coded by what came
before: a level's tokens by those of the level above, a token by whether the one before it lies on the same level. Within a level order
says nothing, so tokens stand there by rank, as gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import StoreError
from . import frame, rans
from .codebook import DEPTH_CLASSES, FEW, K_CLASSES, LEFT_CLASSES, LEVELS_APART, RANK_CLASSES, SIZE_CLASSES, WAYS, Codebook
from .numbers import Numbers

LANE = 256  # tokens: fewer make longer rows (six bytes a lane), more make slower ones
KINDS = {"sparse": b"s", "sampled": b"d"}


@dataclass(frozen=True)
class Coded:
    """Positions end to end, as integers, the tokens of each sorted by level, then rank.

    *Shapes:* ``k``, ``tail`` (positions,), a tail of 0 where none is written; ``levels``, ``ranks``, ``counts`` (sum of k,).
    """

    k: np.ndarray
    tail: np.ndarray
    levels: np.ndarray
    ranks: np.ndarray
    counts: np.ndarray | None = None


def _bit_length(values: np.ndarray) -> np.ndarray:
    return np.frexp(values.astype(np.float64))[1].astype(np.int64)


def _k_class(k: np.ndarray) -> np.ndarray:
    return np.minimum(_bit_length(k), K_CLASSES - 1)


def ordered(k: np.ndarray, levels: np.ndarray, ranks: np.ndarray, vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of each position by level, those of a level by rank."""
    deepest = int(levels.max(initial=0)) + 1
    keys = np.sort((np.repeat(np.arange(len(k)), k) * deepest + levels) * vocabulary + ranks)  # faster than an order to take by
    rest, rank = np.divmod(keys, vocabulary)
    return rest % deepest, rank


def _places(k: np.ndarray) -> np.ndarray:
    """Return each token's place in its position."""
    return np.arange(int(k.sum())) - np.repeat(np.cumsum(k) - k, k)


def _drop_contexts(k: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.minimum(places, FEW - 1) * K_CLASSES + np.repeat(_k_class(k), k)


def _ties(places: np.ndarray, drops: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a token lies on the level of the one before it, and the class of how many are left of its level."""
    tie = (places > 0) & (drops == 0) & ~begins
    group = np.cumsum(~tie) - 1
    ends = np.append(np.flatnonzero(~tie)[1:], len(tie))
    left = ends[group] - np.arange(len(tie)) - 1 if len(tie) else group
    return tie, np.minimum(_bit_length(left), LEFT_CLASSES - 1)


def _rank_class(ranks: np.ndarray) -> np.ndarray:
    return np.minimum(_bit_length(ranks) + 1, RANK_CLASSES - 1)


def _cells(depth: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each level of each position, 0..depth: the level, the part of its context that is known, whether the level above is told too."""
    level = _places(depth + 1)
    chain = (level > 0) & ~begins
    first = np.repeat(np.minimum(depth // 3, DEPTH_CLASSES - 1), depth + 1)
    return level, np.where(chain, DEPTH_CLASSES + SIZE_CLASSES * np.minimum(level, LEVELS_APART - 1), first), chain


def _size_class(sizes: np.ndarray) -> np.ndarray:
    return np.minimum(_bit_length(sizes), SIZE_CLASSES - 1)


def _before(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], values])[: len(values)]


def _sums(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the sums of the first counts[0] values, of the next counts[1], and so on."""
    return np.diff(np.concatenate([[0], np.cumsum(values)])[np.concatenate([[0], np.cumsum(counts)])])


def things(coded: Coded, rows: np.ndarray, way: str) -> dict[str, np.ndarray]:
    """Return by name how many symbols each row has."""
    tokens = _sums(coded.k, rows)
    if way == "sampled":
        return {"k": rows, "drop": tokens, "count": tokens, "id": tokens}
    return {"depth": rows, "tail": rows, "size": _sums(_depth(coded) + 1, rows), "id": tokens}


def _depth(coded: Coded) -> np.ndarray:
    return coded.levels[np.cumsum(coded.k) - 1]


def symbols(coded: Coded, way: str, begins: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return by name the contexts and the integers of all that is written, in order; ``begins`` by name the firsts of the lanes."""
    places = _places(coded.k)
    drops = np.where(places > 0, np.diff(coded.levels, prepend=0), coded.levels)
    tie, left = _ties(places, drops, _marked(len(places), begins["id"]))
    before = _before(coded.ranks)
    ids = (np.where(tie, _rank_class(before), 0) * LEFT_CLASSES + left, np.where(tie, coded.ranks - before - 1, coded.ranks))
    if coded.counts is not None:
        first = (np.zeros(len(coded.k), np.int64), coded.k)
        return {"k": first, "drop": (_drop_contexts(coded.k, places), drops), "count": (np.minimum(coded.levels // 2, 15), coded.counts), "id": ids}
    depth = _depth(coded)
    cell = np.repeat(np.cumsum(depth + 1) - depth - 1, coded.k) + coded.levels
    sizes = np.bincount(cell, minlength=int((depth + 1).sum()))
    _, known, chain = _cells(depth, _marked(len(sizes), begins["size"]))
    tails = (np.minimum(depth // 3, DEPTH_CLASSES - 1), coded.tail)
    return {"depth": (np.zeros(len(depth), np.int64), depth), "tail": tails, "size": (known + _size_class(_before(sizes)) * chain, sizes), "id": ids}


def _shares(totals: np.ndarray, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part ``totals`` things of each row evenly into its lanes; return each lane's first thing, counted over all rows, and how many it has."""
    row = np.repeat(np.arange(len(lanes)), lanes)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lanes) - lanes, lanes)
    first = place * totals[row] // lanes[row]
    return (np.cumsum(totals) - totals)[row] + first, (place + 1) * totals[row] // lanes[row] - first


def _marked(count: int, starts: np.ndarray) -> np.ndarray:
    """Return which of ``count`` things is a lane's first: it can't be told by the one before it."""
    found = np.zeros(count + 1, bool)
    found[starts] = True
    return found[:count]


def write(coded: Coded, lengths: Sequence[int], book: Codebook, way: str) -> list[bytes]:
    """Return a value for each row; rows hold ``lengths`` of the positions, end to end."""
    rows = np.asarray(lengths, np.int64)
    many = things(coded, rows, way)
    lanes = -(-many["id"] // LANE)
    numbers, tables, parts = book.numbers(way), book.tables[way], []
    shares = {name: _shares(totals, lanes) for name, totals in many.items()}
    found = symbols(coded, way, {name: share[0] for name, share in shares.items()})
    for phase, name in enumerate(WAYS[way]):
        contexts, integers = found[name]
        symbol, width, bits = numbers[name].split(integers)
        if len(symbol) and (symbol.max() >= numbers[name].symbols or symbol.min() < 0):
            raise StoreError(f"{name} of {int(integers.max())} is not in the codebook", place="token store", remedy="fit a codebook to this setting")
        frequency = tables[name]
        below = np.cumsum(frequency, 1) - frequency
        lane = np.repeat(np.arange(int(lanes.sum())), shares[name][1])
        parts.append((lane, np.full(len(lane), phase), frequency[contexts, symbol], below[contexts, symbol], width, bits))
    lane, phases, *rest = (np.concatenate(columns) for columns in zip(*parts))
    by_lane = np.lexsort((phases, lane))
    steps = rans.Steps(*(column[by_lane] for column in rest))
    states, counts, words = rans.encode(steps, np.bincount(lane, minlength=int(lanes.sum())))
    return _framed(rows, lanes, states, counts, words, book, way)


def _framed(rows: np.ndarray, lanes: np.ndarray, states: np.ndarray, counts: np.ndarray, words: np.ndarray, book: Codebook, way: str) -> list[bytes]:
    values, first = [], np.cumsum(lanes) - lanes
    starts = np.concatenate([[0], np.cumsum(counts)])
    for length, lane, many in zip(rows.tolist(), first.tolist(), lanes.tolist()):
        mine = slice(lane, lane + many)
        if many > 0xFFFF:
            raise StoreError(f"a row of {length} positions is too long for its header", place="token store", remedy="split the text")
        head = np.array([many], "<u2").tobytes()
        body = (
            head
            + states[mine].astype("<u4").tobytes()
            + counts[mine].astype("<u2").tobytes()
            + words[starts[lane] : starts[lane + many]].astype("<u2").tobytes()
        )
        values.append(frame.close(KINDS[way], book.id, length, body))
    return values


def read(values: Sequence[bytes], book: Codebook, way: str) -> tuple[np.ndarray, Coded]:
    """Return the rows' lengths and their positions end to end; raises :class:`StoreError` for bytes that are not such rows."""
    lengths, lanes, reader = _opened(values, book, KINDS[way])
    numbers, tables = book.numbers(way), book.packed[way]
    positions, once = int(lengths.sum()), _shares(lengths, lanes)

    def plain(name: str, contexts: np.ndarray, share: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        out, run = np.empty(len(contexts), np.int64), reader.run(share[1])
        starts = share[0][run.order]
        widths, bases, wide = numbers[name].widths, numbers[name].bases, int(numbers[name].widths[numbers[name].symbols - 1]) > 0
        for step, active in enumerate(run.active):
            at = starts[:active] + step
            symbol = run.symbols(tables[name], contexts[at])
            out[at] = bases[symbol] + run.bits(widths[symbol]) if wide else bases[symbol]
        run.done()
        return out

    none = np.zeros(positions, np.int64)
    if way == "sampled":
        k, tail = plain("k", none, once), none
        share = _checked(_sums(k, lengths), lanes, k, book)
        places = _places(k)
        drops = plain("drop", _drop_contexts(k, places), share)
        levels = np.cumsum(drops)
        levels -= np.repeat(np.concatenate([[0], levels])[np.cumsum(k) - k], k)
        counts = plain("count", np.minimum(levels // 2, 15), share)
    else:
        depth, counts = plain("depth", none, once), None
        tail = plain("tail", np.minimum(depth // 3, DEPTH_CLASSES - 1), once)
        cells = _shares(_sums(depth + 1, lengths), lanes)
        level, known, chain = _cells(depth, _marked(int((depth + 1).sum()), cells[0]))
        sizes = _chained(reader, tables["size"], numbers["size"], cells, known, chain, _size_class(np.arange(book.k_max + 1)), False)
        k = _sums(sizes, depth + 1)
        share = _checked(_sums(k, lengths), lanes, k, book)
        levels, places = np.repeat(level, sizes), _places(k)
        drops = np.diff(levels, prepend=0)
    if len(levels) and levels.max() >= len(book.grid(way).centers):
        raise _garbage()
    tie, left = _ties(places, drops, _marked(len(places), share[0]))
    classes = _rank_class(np.arange(book.vocabulary)) * LEFT_CLASSES
    ranks = _chained(reader, tables["id"], numbers["id"], share, left, tie, classes, True)
    if len(ranks) and ranks.max() >= book.vocabulary:
        raise _garbage()
    reader.close()
    return lengths, Coded(k, tail, levels, ranks, counts)


def _checked(tokens: np.ndarray, lanes: np.ndarray, k: np.ndarray, book: Codebook) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of the lanes in the rows' ``tokens``, once these can be true."""
    if len(k) and (k.min() < 1 or k.max() > book.k_max or (lanes != -(-tokens // LANE)).any()):
        raise _garbage()
    return _shares(tokens, lanes)


def _chained(
    reader: rans.Reader,
    table: np.ndarray,
    numbers: Numbers,
    share: tuple[np.ndarray, np.ndarray],
    known: np.ndarray,
    chain: np.ndarray,
    classes: np.ndarray,
    gaps: bool,
) -> np.ndarray:
    """Return integers whose context is ``known``, and where there is a ``chain`` also the class of the one before; ``gaps``: counted from it."""
    out, run, widths, bases = np.empty(len(known), np.int64), reader.run(share[1]), numbers.widths, numbers.bases
    starts, before = share[0][run.order], np.zeros(len(share[0]), np.int64)
    for step, active in enumerate(run.active):
        at = starts[:active] + step
        tied, last = chain[at], before[:active]
        symbol = run.symbols(table, classes.take(last, mode="clip") * tied + known[at])
        value = bases[symbol] + run.bits(widths[symbol])
        out[at] = before[:active] = value + (last + 1) * tied if gaps else value
    run.done()
    return out


def _opened(values: Sequence[bytes], book: Codebook, kind: bytes) -> tuple[np.ndarray, np.ndarray, rans.Reader]:
    """Return the rows' lengths, their numbers of lanes, and the lanes before their first symbol."""
    lengths, lanes, states, counts, words = [], [], [np.empty(0, "<u4")], [np.empty(0, np.int64)], [np.empty(0, "<u2")]
    for value in values:
        positions, body = frame.open(value, kind, book.id)
        many = int.from_bytes(body[:2], "little")
        if len(body) % 2 or len(body) < 2 + 6 * many or (many > 0) != (positions > 0):
            raise _garbage()
        lengths.append(positions)
        lanes.append(many)
        states.append(np.frombuffer(body, "<u4", many, 2))
        counts.append(np.frombuffer(body, "<u2", many, 2 + 4 * many).astype(np.int64))
        words.append(np.frombuffer(body[2 + 6 * many :], "<u2"))
        if len(words[-1]) != counts[-1].sum():
            raise _garbage()
    every = np.concatenate(counts)
    ends = np.cumsum(every)
    reader = rans.Reader(np.concatenate(states), ends - every, ends, np.concatenate(words))
    return np.array(lengths, np.int64), np.array(lanes, np.int64), reader


def _garbage() -> StoreError:
    return StoreError("the bytes don't hold what their header says", place="token store", remedy="the value is damaged: label these rows again")
