import itertools
import math
from contextlib import suppress
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from blocks.domain.errors import InvalidInputError
from blocks.domain.parameters import (
    MAX_VALUES,
    Parameters,
    ParameterSpec,
    grid_point,
    grid_size,
    parse_parameter,
    unfit,
)

SPACE = TypeAdapter(Parameters)


def parameter(text: str) -> ParameterSpec:
    return ParameterSpec.model_validate(parse_parameter(text))


def space(*texts: str) -> tuple[ParameterSpec, ...]:
    return SPACE.validate_python(list(texts))


def refusal(given: object) -> str:
    with pytest.raises((ValidationError, InvalidInputError)) as refused:
        SPACE.validate_python(given)
    return str(refused.value)


def decimals(places: int, low: int = -1000, high: int = 1000) -> st.SearchStrategy[Decimal]:
    return st.integers(low, high).map(lambda n: Decimal(n).scaleb(-places))


@st.composite
def decimal_grids(draw: st.DrawFn) -> tuple[Decimal, Decimal, Decimal, bool]:
    """Min, max, step, and whether max lies on a step."""
    low = draw(decimals(draw(st.integers(0, 12))))
    step = draw(decimals(draw(st.integers(0, 12)), low=1))
    steps = draw(st.integers(0, 30))
    beyond = draw(st.fractions(0, 1).filter(lambda part: part < 1).map(lambda part: Decimal(round(part * 99)) / 100))
    return low, low + (steps + beyond) * step, step, beyond == 0


@pytest.mark.req("TUN-02")
@given(st.lists(decimal_grids(), min_size=1, max_size=3))
def test_the_grid_is_the_product_of_decimals_in_its_order(grids):
    asked = [
        {"name": f"p{number}", "type": "DOUBLE", "min": str(low), "max": str(high), "step": str(step)}
        for number, (low, high, step, _) in enumerate(grids)
    ]
    parameters = SPACE.validate_python(asked)
    axes = [
        list(itertools.takewhile(lambda x, high=high: x <= high, (low + step * n for n in itertools.count())))
        for low, high, step, _ in grids
    ]
    size = math.prod(len(axis) for axis in axes)
    assert grid_size(parameters) == size
    for number in {0, 1, size // 3, size // 2, size - 1} & set(range(size)):
        expected = next(itertools.islice(itertools.product(*axes), number, None))
        assert [Decimal(text) for text in grid_point(parameters, number).values()] == list(expected)
    for one, axis in zip(parameters, axes, strict=True):
        assert [Decimal(text) for text in one.points()] == axis
        assert all(one.holds(text) for text in one.points())


@pytest.mark.req("TUN-02")
@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("x=DOUBLE[0.1,0.7,step=0.2]", "0.1 0.3 0.5 0.7"),
        ("x=DOUBLE[0.001,0.01,0.001]", "0.001 0.002 0.003 0.004 0.005 0.006 0.007 0.008 0.009 0.01"),
        ("x=DOUBLE[0.1,0.3,0.1]", "0.1 0.2 0.3"),
        ("x=DOUBLE[-0.3,0.3,0.15]", "-0.3 -0.15 0 0.15 0.3"),
        ("x=DOUBLE[-0.0,1,0.5]", "0 0.5 1"),
        ("x=DOUBLE[0.10,1e-1,5]", "0.1"),
        ("x=DOUBLE[0,1,0.3]", "0 0.3 0.6 0.9"),
        ("x=INT[1,10,step=3]", "1 4 7 10"),
        ("x=INT[1,3]", "1 2 3"),
        ("x=INT[-1e2,1e2,1e2]", "-100 0 100"),
        ("x=DOUBLE[1e-4,1e-1,log,step=10]", "0.0001 0.001 0.01 0.1"),
        ("x=DOUBLE[1e-4,1e-1,log,step=31.622776601683795]", "0.0001 0.0031622776601683795 0.1"),
        ("x=DOUBLE[0.001,0.004,log,1.5]", "0.001 0.0015 0.00225 0.003375"),
        ("x=INT[1,20,log,step=2]", "1 2 4 8 16"),
        ("x=INT[1,999999999999999,log,step=1000]", "1 1000 1000000 1000000000 1000000000000"),
        ("x=DISCRETE[16,32,64.50]", "16 32 64.50"),
        ("x=CATEGORICAL[b, a,c ]", "b a c"),
    ],
)
def test_a_grid_keeps_its_ends_where_they_lie_on_the_steps(text, points):
    one = parameter(text)
    assert list(one.points()) == points.split()
    assert one.count() == len(points.split())


@pytest.mark.req("TUN-02")
def test_the_last_parameter_of_a_grid_changes_first():
    parameters = space("a=INT[1,2]", "b=CATEGORICAL[x,y,z]")
    assert [tuple(grid_point(parameters, n).values()) for n in range(6)] == list(itertools.product("12", "xyz"))
    assert list(grid_point(parameters, 0)) == ["a", "b"]


def test_a_grid_of_any_size_is_counted_at_once_and_exactly():
    assert parameter("x=DOUBLE[0,1e15,step=1e-64]").count() == 10**79 + 1
    assert parameter("x=DOUBLE[0,1e15,step=1e-64]").point(10**79) == "1" + "0" * 15
    assert parameter("x=DOUBLE[-1e15,1e15,step=3e-64]").count() == 2 * 10**79 // 3 + 1
    assert parameter("x=DOUBLE[1,2,log,step=1.0000000000000000000001]").count() > 10**21
    assert grid_size(space("x=INT[1,1e15]", "y=INT[1,1e15]")) == 10**30
    assert grid_point(space("x=INT[1,1e15]", "y=INT[1,1e15]"), 10**30 - 1) == {"x": str(10**15), "y": str(10**15)}


@given(st.integers(0, 60), st.floats(1.001, 1.5))
def test_a_logarithmic_grid_keeps_its_end_however_its_step_is_rounded(steps, step):
    low = 1e-3
    one = ParameterSpec(name="x", min=low, max=low * step**steps, step=step, log=True)
    assert one.count() == steps + 1
    points = [float(text) for text in one.points()]
    assert points[-1] == low * step**steps
    assert points == sorted(set(points))
    assert all(one.holds(text) for text in one.points())


@pytest.mark.req("TUN-02")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "at least 1 item"),
        ({}, "at least 1 item"),
        ([f"p{n}=INT[0,1]" for n in range(101)], "at most 100 items"),
        (["x=INT[2,1]"], "max 1 is below min 2"),
        (["x=DOUBLE[1e-3,1e-4]"], "max 1e-4 is below min 1e-3"),
        (["x=DOUBLE[0,1,step=0]"], "step 0 is not above 0"),
        (["x=DOUBLE[0,1,step=-0.1]"], "step -0.1 is not above 0"),
        (["x=INT[0,9,0]"], "step 0 is not above 0"),
        (["x=INT[0,9,0.5]"], "INT has whole numbers, and 0.5 is none"),
        (["x=INT[0.5,9]"], "INT has whole numbers, and 0.5 is none"),
        (["x=DOUBLE[0,1,log]"], "a log scale needs min above 0, and it is 0"),
        (["x=DOUBLE[-1,1,log]"], "a log scale needs min above 0, and it is -1"),
        (["x=INT[0,8,log]"], "a log scale needs min above 0"),
        (["x=DOUBLE[1,8,log,step=1]"], "a factor above 1, and it is 1"),
        (["x=DOUBLE[1,8,log,step=0.5]"], "a factor above 1, and it is 0.5"),
        (["x=DOUBLE[0,nan]"], "max 'nan' is no number"),
        (["x=DOUBLE[-inf,0]"], "min '-inf' is no number"),
        (["x=DOUBLE[0,1,step=NaN]"], "step 'nan' is no number"),
        ([{"name": "x", "min": float("nan"), "max": 1}], "min 'nan' is no number"),
        ([{"name": "x", "min": 0, "max": float("inf")}], "max 'inf' is no number"),
        ([{"name": "x", "min": "sNaN", "max": 1}], "min 'sNaN' is no number"),
        (["x=DOUBLE[0,1e16]"], "max '1e16' is no number from -1e15 to 1e15"),
        ([{"name": "x", "type": "INT", "min": 0, "max": 10**5000}], "no number from -1e15 to 1e15"),
        ([{"name": "x", "type": "INT", "min": -(10**5000), "max": 0}], "no number from -1e15 to 1e15"),
        (["x=DOUBLE[0,1e999999999]"], "is no number from"),
        (["x=DOUBLE[1e-400,1]"], "min '1e-400' has more than 64 digits behind the decimal point"),
        ([{"name": "x", "min": "0." + "1" * 70, "max": 1}], "at most 64 characters"),
        (["x=DOUBLE[1_000,2_000]"], "min '1_000' is no number"),
        (["x=DOUBLE[0,\u0661]"], "is no number"),
        (["x=DOUBLE[0x10,20]"], "min '0x10' is no number"),
        (["x=DOUBLE[a,b]"], "min 'a' is no number"),
        (["x=DOUBLE[0]"], "needs both min and max"),
        (["x=DOUBLE[]"], "needs both min and max"),
        ([{"name": "x", "min": True, "max": 2}], "valid string"),
        ([{"name": "x", "min": [1], "max": 2}], "valid string"),
        ([{"name": "x", "type": "INT", "min": 1, "max": 2, "values": "1,2"}], "INT has min and max, not values"),
        ([{"name": "x", "type": "DISCRETE", "min": 1, "max": 2}], "has values, not min, max, step or log"),
        ([{"name": "x", "type": "CATEGORICAL", "values": "a,b", "log": True}], "has values, not min"),
        ([{"name": "x", "type": "FLOAT", "min": 1, "max": 2}], "'INT', 'DOUBLE', 'DISCRETE' or 'CATEGORICAL'"),
        (["x=DISCRETE[]"], "needs values"),
        (["x=DISCRETE[1,two]"], "values 'two' is no number"),
        (["x=DISCRETE[1,nan]"], "values 'nan' is no number"),
        (["x=DISCRETE[1_0,2]"], "values '1_0' is no number"),
        (["x=DISCRETE[0.1,0.10]"], "given twice: '0.1' and '0.10'"),
        (["x=DISCRETE[0,-0.0]"], "given twice: '0' and '-0.0'"),
        (["x=DISCRETE[1,,2]"], "1 to 4,096 characters"),
        (["x=CATEGORICAL[a,b,a]"], "given twice: 'a'"),
        ([{"name": "x", "type": "CATEGORICAL", "values": ["a", ""]}], "1 to 4,096 characters"),
        ([{"name": "x", "type": "CATEGORICAL", "values": "a,,b"}], "1 to 4,096 characters"),
        ([{"name": "x", "type": "CATEGORICAL", "values": ["a\0"]}], "neither NUL"),
        ([{"name": "x", "type": "CATEGORICAL", "values": ["\ud800"]}], "nor half a character"),
        ([{"name": "x", "type": "CATEGORICAL", "values": ["x" * 4097]}], "1 to 4,096 characters"),
        ([{"name": "x", "type": "CATEGORICAL", "values": [None]}], "1 to 4,096 characters"),
        ([{"name": "x", "type": "DISCRETE", "values": list(range(MAX_VALUES + 1))}], "at most 1000 items"),
        (["x=INT[1,2]", "x=INT[3,4]"], "the parameters 'x' would be the same EM_HP_X"),
        (["lr=INT[1,2]", "LR=INT[3,4]"], "'lr' and 'LR' would be the same EM_HP_LR"),
        (["a-b=INT[1,2]", "a.b=INT[3,4]"], "EM_HP_A_B"),
        (["1x=INT[1,2]"], "a name is a letter or '_'"),
        ([{"name": "", "min": 1, "max": 2}], "a name is a letter or '_'"),
        ([{"name": "x" * 129, "min": 1, "max": 2}], "at most 128 characters"),
        ([{"name": "x", "minimum": 1, "max": 2}], "did you mean 'min'"),
        (["x"], "not written as a parameter is"),
        (["x=REAL[0,1]"], "not written as a parameter is"),
        (["x=DOUBLE[0,1"], "not written as a parameter is"),
        (["x=DOUBLE[0,1,lug]"], "step 'lug' is no number"),
        (["x=DOUBLE[0,1,]"], "'' is not understood"),
        (["x=DOUBLE[0,1,step=]"], "'step=' is not understood"),
        (["x=DOUBLE[0,1,base=2]"], "'base=2' is not understood"),
        (["x=DOUBLE[1,2,log=perhaps]"], "'log=perhaps' is not understood"),
        (["x=DOUBLE[1,2,0.1,step=0.2]"], "'step=0.2' is not understood"),
        ({"x": [1, 2]}, "not written as a parameter is"),
        ("x=DOUBLE[0,1]", "valid tuple"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_and_told_why(given, why):
    assert why in refusal(given)


@pytest.mark.req("TUN-02")
@pytest.mark.parametrize("text", ["x=DOUBLE[0,1]", "x=DOUBLE[1,2,log]", "x=INT[1,2,log]"])
def test_a_grid_over_a_range_without_a_step_says_which_parameter_lacks_one(text):
    with pytest.raises(InvalidInputError, match="The parameter 'x' has no step: a GRID needs one"):
        grid_size(space(text))


@pytest.mark.req("TUN-02")
def test_all_ways_of_writing_a_space_are_the_same():
    listed = SPACE.validate_python(
        [
            {"name": "lr", "type": "DOUBLE", "min": 1e-4, "max": "1e-1", "log": True},
            {"name": "n", "type": "INT", "min": 1, "max": 9, "step": 2},
            {"name": "size", "type": "DISCRETE", "values": [16, 32, 0.5]},
            {"name": "kind", "type": "CATEGORICAL", "values": ["a", "true"]},
        ]
    )
    texts = ["lr=DOUBLE[0.0001,1e-1,log]", " n = int [1, 9, 2]", "size=DISCRETE[16,32,0.5]", "kind=CATEGORICAL[a,true]"]
    given = {
        "lr": {"min": Decimal("0.0001"), "max": "0.1", "log": True},
        "n": "INT[1,9,step=2]",
        "size": {"type": "DISCRETE", "values": "16,32,0.5,"},
        "kind": {"type": "CATEGORICAL", "values": ["a", True]},
    }
    for other in (SPACE.validate_python(texts), SPACE.validate_python(given)):
        assert [one.name for one in other] == ["lr", "n", "size", "kind"]
        for one, expected in zip(other, listed, strict=True):
            assert (one.type, one.values, one.log) == (expected.type, expected.values, expected.log)
            if not one.values:
                assert (one.low, one.high, one.distance) == (expected.low, expected.high, expected.distance)
    assert SPACE.validate_json(SPACE.dump_json(listed)) == listed


@pytest.mark.req("TUN-02")
def test_numbers_of_numpy_are_numbers():
    one = ParameterSpec(name="x", min=np.float64(0.1), max=np.float32(0.5), step=np.float64(0.2))
    assert list(one.points()) == ["0.1", "0.3", "0.5"]
    assert ParameterSpec(name="x", type="DISCRETE", values=list(np.array([16, 32]))).values == ("16", "32")


@pytest.mark.req("TUN-02")
@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text), min_size=1, unique=True))
@example(["a,b", " a ", "ü", "🜚", "\x1b[31m", "a\nb", "--x", "'", '"', "$(x)"])
def test_a_listed_category_is_given_on_as_it_is(values):
    one = ParameterSpec(name="x", type="CATEGORICAL", values=values)
    assert list(one.points()) == values
    assert all(one.holds(value) for value in values)


@given(st.text(max_size=40))
@example("x=DOUBLE[1e-4,1e-1,log]")
@example("x=INT[" + "9" * 400 + ",1]")
@example("x=DOUBLE[sNaN,1e-400,log,step=1e999]")
def test_any_text_is_a_parameter_or_is_refused_in_words(text):
    for written in (text, f"x=DOUBLE[{text}]", f"x=DISCRETE[{text}]", f"x=INT[1,{text}]"):
        with suppress(ValidationError, InvalidInputError):
            (one,) = space(written)
            assert one.holds(one.member(0))


@pytest.mark.req("TUN-02")
@given(st.floats(0, 1), decimal_grids())
def test_what_is_nearest_is_a_point_of_the_grid_at_most_half_a_step_away(part, grid):
    low, high, step, _ = grid
    one = ParameterSpec(name="x", min=str(low), max=str(high), step=str(step))
    value = float(low) + part * float(high - low)
    number = one.nearest(value)
    assert 0 <= number < one.count()
    last = Decimal(one.point(one.count() - 1))
    if value <= last:
        assert abs(float(one.point(number)) - value) <= float(step) * 0.5000001 + 1e-12


@pytest.mark.parametrize(
    ("text", "value", "printed"),
    [
        ("x=DOUBLE[-1,1]", -0.0, "0.0"),
        ("x=DOUBLE[0,1]", 1e-05, "1e-05"),
        ("x=DOUBLE[-1,1]", -4.2e-06, "-0.0000042"),
        ("x=DOUBLE[0,1]", np.float64(0.1), "0.1"),
        ("x=DOUBLE[0,0.12345678901234567890]", 0.12345678901234568, "0.1234567890123456789"),
        ("x=DOUBLE[0.12345678901234568111,1]", 0.12345678901234568, "0.12345678901234568111"),
        ("x=INT[-1000000000000000,1000000000000000]", 1e15, "1000000000000000"),
        ("x=INT[1,10]", 10.4, "10"),
        ("x=INT[1,10]", 11.0, "10"),
    ],
)
def test_a_value_is_printed_as_the_entry_point_reads_it_and_stays_within_the_range(text, value, printed):
    one = parameter(text)
    assert one.text(value) == printed
    assert one.holds(printed)


@pytest.mark.parametrize(
    ("text", "value", "held"),
    [
        ("x=DOUBLE[0,1]", "1.0", True),
        ("x=DOUBLE[0,1,0.3]", "0.5", True),
        ("x=DOUBLE[0,1]", "1.0000000000000000000000000000000001", False),
        ("x=DOUBLE[0,1]", "nan", False),
        ("x=DOUBLE[0,1]", "sNaN", False),
        ("x=DOUBLE[0,1]", "1_0", False),
        ("x=DOUBLE[0,1]", "", False),
        ("x=INT[0,10]", "5.0", True),
        ("x=INT[0,10]", "5.5", False),
        ("x=INT[0,10]", "sNaN", False),
        ("x=INT[0,10]", "1e9999", False),
        ("x=DISCRETE[0.1,2]", "2.00", True),
        ("x=DISCRETE[0.1,2]", "3", False),
        ("x=DISCRETE[0.1,2]", "sNaN", False),
        ("x=CATEGORICAL[a,b]", "a", True),
        ("x=CATEGORICAL[a,b]", "A", False),
    ],
)
def test_a_value_of_another_tuning_belongs_to_the_space_or_not(text, value, held):
    one = parameter(text)
    assert one.holds(value) is held
    assert (unfit([one], {"x": value}) == "") is held


def test_a_point_that_does_not_belong_to_the_space_is_told_why():
    parameters = space("a=INT[1,2]", "b=INT[1,2]")
    assert unfit(parameters, {"a": "1"}) == "it has no b"
    assert unfit(parameters, {"a": "1", "b": "2", "c": "3"}) == "it has c, which the space has not"
    assert unfit(parameters, {"a": "1", "b": "3"}) == "b = 3 lies outside of the space"
