"""How alike two names of metrics are, and what to look for where one is sought that nobody reports."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum
from functools import lru_cache
from itertools import permutations, takewhile
from typing import Any

import re2

MOST_COMPARED = 200
_LONGEST_COMPARED = 64
"""What difflib does with two texts may grow with the product of their lengths."""
_MOST_WORDS = 8
_MOST_PERMUTED = 3
_LIKE = 0.75
_SAME_THING = (
    ("val", "validation", "valid"),
    ("train", "training"),
    ("test", "testing"),
    ("eval", "evaluation"),
    ("accuracy", "acc"),
    ("mean", "average", "avg"),
    ("error", "err"),
    ("perplexity", "ppl"),
)
_CANONICAL = {word: group[0] for group in _SAME_THING for word in group}
_GROUPS = {word: group for group in _SAME_THING for word in group}
_QUALIFIERS = frozenset({"val", "train", "test", "eval", "mean", "epoch", "step", "best", "final", "total"})
"""These say of what or when; alone they make no two metrics alike."""

_WORD = re.compile(r"[^\W_]+")
COMMON_WORDS = frozenset(
    _WORD.findall(
        "loss accuracy auc auroc f1 score error rmse mae mse mape logloss perplexity reward return bleu rouge iou miou "
        "map ndcg mrr precision recall r2 dice psnr ssim fid wer cer top1 top5"
    )
)
"""Words of metrics' names, as `words` gives them: what is looked for when no certain metric is sought."""

_NAME_MARKS = "_/.@-"
_GAP = r"(?:[ \t]|[_./|:@-]{0,2})"
_SETTING = r"""\w["']?[ \t]*(?:=+|:[ \t])[ \t]*["'\[(]?[+-]?\.?\d"""


class Likeness(IntEnum):
    """How near a printed name comes to the sought one.

    Attributes:
        PART: It shares a word that says what is measured, e.g. `loss` or `train_loss` for `val_loss`.
        WORDS: It has the same words in another order or written out, or the whole name behind a path or a prefix.
        SPELLING: It differs in case, blanks and separators alone.
    """

    NONE = 0
    PART = 1
    WORDS = 2
    SPELLING = 3
    SAME = 4


def likeness(printed: str, sought: str) -> Likeness:
    """How near `printed` comes to `sought`; any name does when none is sought."""
    if not sought or printed == sought:
        return Likeness.SAME
    if _letters(printed) == _letters(sought):
        return Likeness.SPELLING
    found, wanted = words(printed), words(sought)
    if wanted and (sorted(found) == sorted(wanted) or found[-len(wanted) :] == wanted):
        return Likeness.WORDS
    return Likeness.PART if set(found) & set(wanted) - _QUALIFIERS else Likeness.NONE


def closest(sought: str, names: Iterable[str]) -> tuple[str, Likeness] | None:
    """The name that comes nearest; one that only looks alike (`accuray`) counts as a part of it."""
    among = [name for name, _ in zip(names, range(MOST_COMPARED), strict=False)]
    best = max(among, key=lambda name: likeness(name, sought), default=None)
    if best is not None and (how := likeness(best, sought)) > Likeness.NONE:
        return best, how
    looks = {name.casefold()[:_LONGEST_COMPARED]: name for name in reversed(among)}
    like = get_close_matches(sought.casefold()[:_LONGEST_COMPARED], looks, 1, _LIKE)
    return (looks[like[0]], Likeness.PART) if like else None


def words(name: str) -> tuple[str, ...]:
    """The words of a name in lower case; those that stand for the same thing are one word."""
    return tuple(_CANONICAL.get(word, word) for word in _WORD.findall(name.casefold()))


def is_number(name: str) -> bool:
    """Whether it is no name at all: what an expression with swapped groups takes for one."""
    try:
        float(name.rstrip("%").replace(",", ""))
    except ValueError:
        return False
    return True


def around(before: str, after: str) -> tuple[str, str]:
    """What belongs to the same name in the texts before and after a part of it."""
    left = "".join(takewhile(_in_name, reversed(before)))[::-1].lstrip("/.@-")
    end = 0
    while end < len(after) and _goes_on(after, end):
        end += 1
    return left, after[:end]


@lru_cache(maxsize=256)
def trace_of(sought: str) -> Any:
    """An RE2 pattern of bytes for whatever may be meant by a name: its words in any order, or one of them.

    Without a name it finds common metrics, and what looks like a value that is given to something.
    """
    if sought:
        alternatives = list(_traces(sought.encode(errors="replace").decode()))
    else:
        known = {variant for word in COMMON_WORDS for variant in _GROUPS.get(word, (word,))}
        alternatives = ["|".join(sorted(known, key=lambda word: (-len(word), word))), _SETTING]
    options = re2.Options()
    options.log_errors = False
    options.never_nl = True
    options.case_sensitive = False
    return re2.compile("|".join(alternatives).encode(), options)


def _traces(sought: str) -> Iterable[str]:
    yield re2.escape(sought)
    wanted = _WORD.findall(sought)[:_MOST_WORDS]
    for order in permutations(wanted) if len(wanted) <= _MOST_PERMUTED else [tuple(wanted)]:
        yield _GAP.join(map(_variants, order))
    for word in wanted:
        if words(word)[0] not in _QUALIFIERS:
            yield _variants(word)


def _variants(word: str) -> str:
    group = _GROUPS.get(word.casefold(), (word,))
    return "(?:" + "|".join(re2.escape(variant) for variant in sorted(group, key=len, reverse=True)) + ")"


def _letters(name: str) -> str:
    """What is left without case and separators; the name itself when that is nothing."""
    return "".join(_WORD.findall(name.casefold())) or name


def _goes_on(text: str, at: int) -> bool:
    if text[at].isalnum() or text[at] == "_":
        return True
    following = text[at + 1 : at + 2]
    return following.isalnum() if text[at] == "@" else text[at] in _NAME_MARKS and following.isalpha()


def _in_name(character: str) -> bool:
    return character.isalnum() or character in _NAME_MARKS
