import math
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.domain.errors import InvalidInputError
from blocks.domain.expressions import (
    FORMS,
    MAX_LINE_BYTES,
    MAX_OWN_LINE_BYTES,
    STRETCH_BYTES,
    line_step,
    plain_lines,
)
from blocks.domain.metrics import MAX_NAMES, MetricReader, check_expressions, number

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REFERENCE = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)"


def read(output: bytes | str, *expressions: str) -> list[tuple[str, str, int]]:
    return list(MetricReader(expressions).reports(output.encode() if isinstance(output, str) else output))


def values(line: str) -> dict[str, str]:
    return {name: text for name, text, _ in read(line)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("loss=0.3", {"loss": "0.3"}),
        ("loss = 0.3, acc = 9.1e-1", {"loss": "0.3", "acc": "9.1e-1"}),
        ("loss: 0.3", {"loss": "0.3"}),
        ("loss:\t-0.3", {"loss": "-0.3"}),
        ("train/loss=0.3 val.loss=.5 precision@5: 1.", {"train/loss": "0.3", "val.loss": ".5", "precision@5": "1."}),
        ("loss=nan x=-inf y=NaN z=Infinity", {"loss": "nan", "x": "-inf", "y": "NaN", "z": "Infinity"}),
        ("loss=1e999", {"loss": "1e999"}),
        ("loss=[0.3] mse=(0.1)", {"loss": "0.3", "mse": "0.1"}),
        ("loss = tensor(0.3, device='cuda:0', grad_fn=<NllLossBackward0>)", {"loss": "0.3"}),
        ("loss: tensor([0.3000])", {"loss": "0.3000"}),
        ("loss=np.float64(0.25) acc=Array(0.5, dtype=float32)", {"loss": "0.25", "acc": "0.5"}),
        ("loss: <tf.Tensor: shape=(), dtype=float32, numpy=0.3> acc=1", {"loss": "0.3", "acc": "1"}),
        ("rows=1,234.5 seen=1_000 size=1,234", {"rows": "1,234.5", "seen": "1_000", "size": "1,234"}),
        ("acc=93.5% time=3s speed=5.0it/s", {"acc": "93.5%", "time": "3s", "speed": "5.0it/s"}),
        ("{'loss': 0.3, 'lr': 5e-05, 'epoch': 1.5}", {"loss": "0.3", "lr": "5e-05"}),
        ("{'loss': '0.3'}", {"loss": "0.3"}),
        ('{"loss":0.3,"rows":5}', {"loss": "0.3", "rows": "5"}),
        ("[0]\ttrain-rmse:0.48134\teval-rmse:0.49", {"train-rmse": "0.48134", "eval-rmse": "0.49"}),
        ("1875/1875 [====] - 3s 2ms/step - loss: 0.2606 - accuracy: 0.92", {"loss": "0.2606", "accuracy": "0.92"}),
        ("100%|####| 10/10 [00:01<00:00, 9.5it/s, loss=0.3]", {"loss": "0.3"}),
        ("|loss=0.3|acc=0.9|", {"loss": "0.3", "acc": "0.9"}),
        ("loss=\x1b[32m0.3\x1b[0m", {"loss": "0.3"}),
        ("損失=0.3 │精度=0.2", {"損失": "0.3", "精度": "0.2"}),
        ("The end: loss=0.3.", {"loss": "0.3"}),
    ],
)
def test_what_frameworks_print_is_read_for_what_it_is(line, expected):
    assert values(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "loss= acc=",
        "loss=none acc=N/A",
        "info=info nano=nano",
        "losses=[0.1, 0.2] shape=(1, 2)",
        "version=1.2.3 date=2026-11-23 at=12:30 address=10.0.0.1 commit=3f2a9c",
        "2026-11-23T16:01:01.123 http://host:8080/x train.py:12",
        "saved as file=epoch=3-loss=0.3.ckpt",
        "12=3 1.5=2",
        "x==3 y!=3 z<=3",
        "x" * 200 + "=3",
    ],
)
def test_what_only_looks_alike_is_no_report(line):
    assert values(line) == {}


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("step=17 loss=0.3", 17),
        ("loss=0.3 global_step: 5", 5),
        ("Iteration 7, loss: 0.3", 7),
        ("Epoch 3/10 loss=0.3", 3),
        ("epoch=3 step=17", 17),
        ("Epoch: [3][ 10/5005]", 3),
        ("Epoch [3/10], Step [100/600]", 100),
        ("'epoch': 2,", 2),
        ("epoch=1.5", None),
        ("num_steps=100 steps=100 max_epoch=3", None),
        ("3s 2ms/step - loss: 0.3", None),
        ("step=1,000", None),
        ("step=" + "9" * 30, None),
    ],
)
def test_the_step_is_read_when_the_line_has_one(line, step):
    assert line_step(line.encode()) == step


def test_without_a_step_reports_are_counted_for_each_metric():
    assert read("loss=0.5\nloss=0.4 acc=0.1\nEpoch 9 loss=0.3\nloss=0.2\n") == [
        ("loss", "0.5", 1),
        ("loss", "0.4", 2),
        ("acc", "0.1", 1),
        ("loss", "0.3", 9),
        ("loss", "0.2", 4),
    ]


def test_a_step_is_no_metric():
    assert read("epoch=1 step=2") == []


@pytest.mark.parametrize("text", ["nan", "-inf", "Infinity", "1e999", "abc"])
def test_what_is_not_finite_is_kept_and_marked_and_never_a_number(text):
    expression = r"(loss)=(\S+)"
    [point] = MetricReader([expression], rank=1).read(f"loss={text}".encode(), NOW)
    assert (point.text, point.value, point.finite, point.rank, point.at) == (text, None, False, 1, NOW)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.3", 0.3), ("1,234.5", 1234.5), ("1_000", 1000), ("93.5%", 93.5), ("12ms", 12), ("+.5e-3", 0.0005)],
)
def test_a_number_is_read_without_its_unit(text, value):
    assert number(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["=", " = ", ": "]))
def test_every_number_that_python_prints_is_read_exactly(value, separator):
    [(name, text, step)] = read(f"loss{separator}{value!r}")
    assert (name, step) == ("loss", 1)
    assert number(text) == value


TENSOR = b"<tf.Tensor: shape=(), dtype=x, numpy="
WORDS = rb"loss = : 0.3 nan epoch step= 7 tensor( ) [ ] ' , 1,234 - | -inf".split()
noise = st.sampled_from([*WORDS, b" ", b": ", b"\n", b"\r", b"\xff", b"\xe2\x94", b"\0", b"\x1b[31m", TENSOR])
outputs = st.one_of(st.binary(max_size=300), st.lists(noise, max_size=60).map(b"".join))
OWN = (r"(?P<name>\w+)\s*=\s*(?P<value>\S+)", REFERENCE, r"\A([a-z]+): (.*)\z")


@given(outputs, st.booleans())
@example(b"loss=\xff0.3\n=0.3\n: 1", False)
def test_any_bytes_are_read_without_an_error(output, own):
    for point in MetricReader(OWN if own else ()).read(output, NOW):
        assert point.name
        assert point.text
        assert point.value is None or math.isfinite(point.value)


@given(st.lists(outputs, max_size=6), st.booleans())
@example([b"loss=", b"0.3"], True)
@example([b"epoch 3", b"loss=0.3"], False)
def test_how_the_lines_are_cut_into_chunks_changes_nothing(lines, own):
    expressions = OWN if own else ()
    whole = MetricReader(expressions)
    at_once = list(whole.reports(b"\n".join(lines)))
    state: dict[str, int] = {}
    one_by_one = []
    for line in lines:
        reader = MetricReader(expressions, state=state)  # as a process that attaches again does
        one_by_one += reader.reports(line)
        state = reader.state()
    assert one_by_one == at_once
    assert state == whole.state()


SYNTAX = rb"""= : \" ' .5 12 12: 1:0.5 :nan :-.5e1 :12.5 ":1 ':2 5e-3 1:00:00.1 np.float64( Array( +Inf"""
pieces = st.lists(st.sampled_from([*SYNTAX.split(), *WORDS, b" ", b"\n", b"\t", b"\xff", TENSOR]), max_size=40)


@given(st.lists(pieces.map(b"".join), max_size=3))
def test_the_hint_of_a_form_leaves_out_nothing(texts):
    lines = (b"\n" + b"." * STRETCH_BYTES + b"\n").join(texts)  # far apart, so that each text needs a hint of its own
    for form in FORMS:
        hinted = [match.span() for match in form.matches(lines)]
        assert hinted == [match.span() for match in form.pattern.finditer(lines)]


@given(st.integers(0, 12))
def test_a_line_that_a_stretch_would_end_in_is_read_whole(short):
    line = b"a=1 " + b"." * (STRETCH_BYTES - short) + b" loss=0.25\n"
    assert [name for name, _, _ in read(line * 2)] == ["a", "loss"] * 2


@given(st.binary(max_size=200), st.integers(0, 3))
def test_a_carriage_return_ends_a_line(output, times):
    progress = b"\r".join([b"loss=0.5"] * times)
    assert read(progress) == [("loss", "0.5", count + 1) for count in range(times)]
    assert b"\r" not in plain_lines(output)


def test_a_line_is_cut_at_64_kib():
    line = b"x" * (MAX_LINE_BYTES - 4) + b"loss=0.3 acc=0.5"
    assert read(line) == [("acc", "0.5", 1)]
    assert all(len(piece) <= MAX_LINE_BYTES for piece in plain_lines(line * 40).split(b"\n"))


def test_own_expressions_see_a_longer_line_in_pieces_of_8_kib():
    line = b"x" * MAX_OWN_LINE_BYTES + b"loss=0.3"
    assert read(line, r"^(\w+)=(\S+)") == [("loss", "0.3", 1)]
    assert read(line, r"^x.*(loss)=(\S+)") == []


@pytest.mark.parametrize(
    "hostile",
    [
        b"a" * 2_000_000,
        b"= " * 1_000_000,
        b"loss=" * 400_000,
        b"1" * 2_000_000,
        b": " * 1_000_000,
        b"a=" + b"1_1" * 600_000,
    ],
    ids=["name", "equals", "names", "digits", "colons", "groups"],
)
def test_hostile_output_is_read_at_full_speed(hostile):
    began = time.perf_counter()
    list(MetricReader().reports(hostile))
    list(MetricReader([REFERENCE]).reports(hostile))
    assert time.perf_counter() - began < 20  # a pattern that backtracks would take hours


def test_an_exponential_expression_is_harmless():
    with pytest.raises(InvalidInputError, match="groups"):
        check_expressions(["(a+)+$"])
    began = time.perf_counter()
    assert read("a" * 8_000 + "!", "((a+)+)$(x*)") == []
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("(?=loss)(a)(b)", r"invalid perl operator: \(\?="),
        (r"(\w+)=(\1)", r"invalid escape sequence: \\1"),
        ("(a)(b", "missing"),
        ("(a{1001})(b)", "invalid repetition size"),
        ("(loss)", "groups do not say"),
        ("(?P<name>a)(b)", "groups do not say"),
        ("loss=1", "groups do not say"),
        ("(\ud800)(b)", "surrogates"),
    ],
)
def test_an_expression_that_cannot_be_used_is_refused_in_the_engines_words_with_a_remedy(expression, why):
    with pytest.raises(InvalidInputError, match=why) as refused:
        check_expressions([expression])
    assert "no look-around" in str(refused.value)


def test_a_refused_expression_is_shown_as_it_was_written():
    with pytest.raises(InvalidInputError, match="'custom <") as refused:
        check_expressions([r"custom <\d+> loss"])
    assert r"'custom <\d+> loss' is refused" in str(refused.value)


def test_own_expressions_take_two_groups_or_named_ones_with_a_step():
    assert read("epoch 3 loss~0.3", r"(\w+)~(\S+)") == [("loss", "0.3", 3)]
    named = r"@(?P<step>\d+) (?P<value>\S+) is (?P<name>\w+)"
    assert read("@12 0.3 is loss\n@x 0.4 is loss", named) == [("loss", "0.3", 12)]


def test_an_own_expressions_anchors_are_the_ends_of_a_line():
    assert read("x=1 y=2\nz=3", r"^(\w)=(\d)") == [("x", "1", 1), ("z", "3", 1)]
    assert read("x=1 y=2\nz=3", r"(\w)=(\d)\z") == [("y", "2", 1), ("z", "3", 1)]
    assert read("x=\n1", r"(\w)=[^a]*(\d)") == []


def test_what_two_expressions_find_at_one_place_counts_once_and_in_the_order_of_the_output():
    assert read("b=1 a=2 b=3", r"(a|b)=(\d)", r"(b)=(\d)") == [("b", "1", 1), ("a", "2", 1), ("b", "3", 2)]


def test_the_references_expression_gives_no_report_for_an_empty_value():
    assert read("loss= acc=0.5", REFERENCE) == [("acc", "0.5", 1)]


def test_a_suffix_tells_workers_apart():
    reader = MetricReader(rank=1, suffix="/worker-1", state={"loss/worker-1": 4})
    [point] = reader.read(b"loss=0.5", NOW)
    assert (point.name, point.step) == ("loss/worker-1", 5)


def test_a_program_that_prints_ever_new_names_fills_nothing():
    reader = MetricReader()
    found = list(reader.reports(b"\n".join(b"m%d=1" % count for count in range(MAX_NAMES + 7))))
    assert (len(found), len(reader.state())) == (MAX_NAMES, MAX_NAMES)
    assert list(reader.reports(b"m0=2")) == [("m0", "2", 2)]


def test_what_the_platform_says_of_output_that_is_missing_reports_nothing():
    reader = MetricReader()
    output = b"loss=1\n[makerflow: 11339648 bytes of output are missing here: the node has kept the end]\nloss=2"
    assert list(reader.reports(output)) == [("loss", "1", 1), ("loss", "2", 2)]
