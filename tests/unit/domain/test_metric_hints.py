import re
import shlex
import time
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.domain.metric_hints import MOST_LINES, Diagnosis, Hints
from blocks.domain.metric_names import Likeness, closest, likeness
from blocks.domain.metrics import MetricReader
from blocks.domain.near_misses import SHOWN_CHARACTERS, shown


def hints(output: bytes | str, sought: str = "", expressions: Sequence[str] = ()) -> Hints:
    found = Hints(sought, expressions)
    data = output if isinstance(output, bytes) else output.encode()
    found.look(data, [(name, text) for name, text, _ in MetricReader(expressions).reports(data)])
    return found


def diagnose(output: bytes | str, sought: str = "", expressions: Sequence[str] = ()) -> Diagnosis:
    found = hints(output, sought, expressions)
    assert not found.found
    return found.diagnosis()


def suggested_expression(diagnosis: Diagnosis) -> str:
    """The expression that can be pasted from a suggestion, as a shell reads it."""
    return shlex.split(re.search(r"(?:expression|use|Use) ('.*)", diagnosis.suggestion)[1])[0].removesuffix(".")


@pytest.mark.req("TUN-04")
@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("1875/1875 ━━━━━ 3s 1ms/step - accuracy: 0.8784 - loss: 0.4320 - val_loss: 0.95", "val_loss"),  # Keras
        ("Epoch 0: 100%|##| 63/63 [00:00<00:00, 201.06it/s, v_num=1, train_loss=0.312]", "train_loss"),  # Lightning
        ("{'eval_loss': 0.5, 'eval_runtime': 1.2, 'epoch': 1.0}", "eval_loss"),  # HF Trainer
        ("[0]\ttrain-rmse:0.5\teval-rmse:0.6", "eval-rmse"),  # XGBoost
        ("[10]\ttraining's binary_logloss: 0.5\tvalid_0's auc: 0.9", "auc"),  # LightGBM
        ("0:\tlearn: 0.6\ttest: 0.61\tbest: 0.61 (0)\ttotal: 50ms", "learn"),  # CatBoost
        ("Iteration 1, loss = 2.31", "loss"),  # scikit-learn's MLP
        ("[CV 1/5] END ....C=1, kernel=rbf;, score=0.967 total time=   0.0s", "score"),  # its searches
        (" 10%|█ | 1/10 [00:01<00:00]\r100%|██| 10/10 [00:01<00:00, 9.5it/s, loss=0.3]", "loss"),  # tqdm
        ('{"step": 3, "loss": 0.3, "_runtime": 5.1}', "loss"),  # W&B, MLflow, any JSON lines
        ("Test set: Average loss: 0.0266, Accuracy: 9912/10000 (99%)", "loss"),  # PyTorch's examples
    ],
)
def test_what_these_frameworks_print_needs_no_hint(line: str, found: str) -> None:
    assert hints(line, found).found


@pytest.mark.req("TUN-04", "TUN-13")
@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("val_loss 0.3", "0.3"),
        ("2026-01-01 INFO val_loss is 0.3", "0.3"),
        ("val_loss -> -3e-05", "-3e-05"),
        ("val_loss==0.3", "0.3"),
        ("val_loss:3", "3"),
        ("| epoch 1 | 200/2928 batches | lr 5.00 | val_loss  8.10 | ppl  3300.", "8.10"),
        ("│       val_loss          │    0.123     │", "0.123"),  # Lightning's table of a test
        ("Validation: val_loss reached 0.312 (best 0.312)", "0.312"),
        ("val_loss (mean): 0.3", "0.3"),
        ('{"name": "val_loss", "value": 0.3, "step": 1}', "0.3"),
        ('{"metric": "val_loss", "value": "0.3"}', "0.3"),
        ("0.3 val_loss", "0.3"),
        ("\x1b[1mval_loss\x1b[0m \x1b[32m0.3\x1b[0m", "0.3"),
        ("val_loss\t0.3", "0.3"),
        ("損失 val_loss [0.3]", "0.3"),
    ],
)
def test_for_a_value_in_another_form_there_is_an_expression_that_reads_it(line: str, value: str) -> None:
    diagnosis = diagnose(f"starting\n{line}\nready\n", "val_loss")

    assert "in a form that is not read" in diagnosis.message
    assert "val_loss" in diagnosis.lines[0]
    assert 'print(f"val_loss={value}", flush=True)' in diagnosis.suggestion
    [report] = MetricReader([suggested_expression(diagnosis)]).reports(line.encode())
    assert report[:2] == ("val_loss", value)


@pytest.mark.req("TUN-04", "TUN-13")
@pytest.mark.parametrize(
    ("output", "sought", "told"),
    [
        ("val loss: 0.3", "val_loss", 'but "val loss" is printed'),
        ("Val-Loss=0.3", "val_loss", 'but "Val-Loss" is printed'),
        ("loss_val=0.3", "val_loss", 'but "loss_val" is printed'),
        ("validation/loss=0.3", "val_loss", 'but "validation/loss" is printed'),
        ("validation/loss=0.3", "loss", 'but "validation/loss" is printed'),
        ("train_loss=0.1 eval_acc=0.3", "eval_accuracy", 'but "eval_acc" is printed'),
        ("train_loss=0.1", "val_loss", 'but "train_loss" is printed'),
        ("accuray=0.3", "accuracy", 'but "accuray" was'),
        ("loss=", "loss", "without a value"),
        ("loss= acc=0.1", "loss", "without a value"),
        ("loss=n/a", "loss", '"n/a", which is no number'),
        ('{"loss": null}', "loss", '"null", which is no number'),
        ("loss=[0.3, 0.2]", "loss", '"[0.3, 0.2]", which is no number'),
        ("accuracy: 9912/10000 (99%)", "accuracy", '"9912/10000 (99%)", which is no number'),
        ("loss=0x1f", "loss", '"0x1f", which is no number'),
        ("Loss:\n0.3", "loss", "on the next line"),
        ("val_loss[0]=0.3", "val_loss", "is mentioned"),
        ("epoch  train_loss  valid_loss  time\n0  0.12  0.23  00:12", "valid_loss", "heads a column"),  # fastai
        ("| epoch | loss |\n|------:|-----:|\n|     1 | 0.30 |", "loss", "heads a column"),
        ("   Iter   Train Loss   Remaining Time\n  1   1.2613   0.05s", "train_loss", "heads a column"),
        ("computing the loss function", "loss", "is mentioned"),
        ("loss=nan\nloss=inf", "loss", 'never as a finite number; the last value was "inf"'),
        ("lr=0.1", "loss", 'Found: "lr"'),
        ("hello 3", "loss", "of 1 line none looks like a report"),
        ("hello\nworld\n", "loss", "of 2 lines none has a number"),
        ("", "loss", "has printed nothing"),
        ("\n \n", "loss", "has printed nothing"),
    ],
)
def test_each_reason_is_told_with_what_to_do(output: str, sought: str, told: str) -> None:
    diagnosis = diagnose(output, sought)

    assert told in diagnosis.message
    assert diagnosis.suggestion
    assert "\n" not in diagnosis.text


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ("step 1 loss 0.3", '"loss" is printed in a form'),
        (" * Acc@1 76.13 Acc@5 92.862", '"Acc@1" is printed in a form'),
        ("Epoch 1 of 3\nepoch: 2", "of 2 lines none looks like"),
        ("GET http://host:8080/x 200\n16:20:31 train.py:12 ready", "none looks like"),
        ("downloading: 3 of 5", ""),
        ("loss=nan", "never as a finite number"),
    ],
)
def test_without_a_name_any_metric_is_sought(output: str, told: str) -> None:
    found = hints(output)
    assert found.found is not bool(told)
    assert told in found.diagnosis().message


@pytest.mark.req("TUN-04")
def test_own_expressions_that_match_nothing_where_the_default_one_would_are_told() -> None:
    diagnosis = diagnose("step=1 loss: 0.3", "loss", [r"(\w+) is ([\d.]+)"])

    assert "do not read" in diagnosis.message
    assert diagnosis.suggestion.startswith("Leave out the metric expressions")
    assert hints("step=1 loss: 0.3", "loss", [suggested_expression(diagnosis)]).found


@pytest.mark.req("TUN-04")
@pytest.mark.parametrize("sought", ["loss", ""])
def test_swapped_groups_are_told_with_the_expression_put_right(sought: str) -> None:
    diagnosis = diagnose("0.3 loss\n", sought, [r"([\d.]+) (\w+)"])

    assert "the other way round" in diagnosis.message
    assert hints("0.3 loss\n", sought, [suggested_expression(diagnosis)]).found


def test_what_is_suggested_to_print_is_what_the_expressions_in_use_read() -> None:
    assert 'print(f"loss={value}"' in diagnose("loss=", "loss", [r"(\w+)=(.+)"]).suggestion
    assert "as the metric expressions read it" in diagnose("loss#", "loss", [r"(\w+)#(.+)"]).suggestion
    assert 'another name: print(f"val_loss={value}"' in diagnose("x", "val loss").suggestion
    assert 'another name: print(f"metric_epoch={value}"' in diagnose("x", "epoch").suggestion
    assert 'print(f"a{{b}}' not in diagnose("x", "a{b}").suggestion


def test_the_nearest_lines_come_first_each_shape_once() -> None:
    lines = [f"epoch {n}: validation-loss 0.{n}\nloss is computed\nval_loss {n}.5\n" for n in range(50)]
    diagnosis = diagnose("".join(lines), "val_loss")

    assert diagnosis.lines == ("val_loss 0.5", "epoch 0: validation-loss 0.0")


def test_a_name_that_was_found_is_better_than_a_line_that_only_mentions_the_metric() -> None:
    assert 'but "val_lss" was' in diagnose("val_loss follows\nval_lss=0.3\n", "val_loss").message


def test_once_the_metric_is_found_nothing_more_is_looked_at() -> None:
    found = hints("loss=0.3\n", "loss")
    before = vars(found).copy()
    found.look(b"val loss: 0.3\n", [("other", "1")])
    assert vars(found) == before


@pytest.mark.parametrize(
    ("printed", "sought", "how"),
    [
        ("loss", "loss", Likeness.SAME),
        ("anything", "", Likeness.SAME),
        ("valLoss", "val_loss", Likeness.SPELLING),
        ("validation/loss", "val_loss", Likeness.WORDS),
        ("train/loss", "loss", Likeness.WORDS),
        ("loss", "val_loss", Likeness.PART),
        ("val_accuracy", "val_loss", Likeness.NONE),
        ("---", "+++", Likeness.NONE),
    ],
)
def test_how_alike_names_are(printed: str, sought: str, how: Likeness) -> None:
    assert likeness(printed, sought) is how


def test_the_closest_of_many_names_is_found_in_bounded_time() -> None:
    names = ["ab" * 30 + f"{number:08b}" for number in range(1000)]
    began = time.thread_time()
    assert closest("c" * 10_000, names) is None
    closest("ba" * 5000, names)
    assert time.thread_time() - began < 5


def test_long_lines_are_shown_around_the_metric() -> None:
    [line] = diagnose("x" * 50_000 + " val loss 0.3 " + "y" * 50_000, "val_loss").lines
    assert "val loss 0.3" in line
    assert len(line) == SHOWN_CHARACTERS


def test_control_characters_are_made_visible() -> None:
    assert shown(b"a\tb\x07\x00\xff\xe2\x80\xae") == "a\\tb\\x07\\x00�\\u202e"
    assert len(shown(b"\x00" * 500)) == SHOWN_CHARACTERS


LOOKS_ALIKE = [
    "val",
    "loss",
    "_",
    "=",
    ":",
    " ",
    "0.3",
    "\n",
    "\r",
    '"',
    "[",
    "(",
    "|",
    "nan",
    "epoch",
    "-",
    ">",
    "is ",
]
noise = st.one_of(
    st.binary(max_size=400),
    st.lists(st.sampled_from(LOOKS_ALIKE), max_size=80).map(lambda parts: "".join(parts).encode()),
)
EXPRESSIONS = ((), (r"(\w+) is (\S+)",), (r"(\S+)\s+(\w+)", r"(?P<value>\d+)(?P<name>.)"))


@given(noise, st.sampled_from(["", "val_loss", "loss", "損失", "-", "\ud800"]), st.sampled_from(EXPRESSIONS))
@example(b"val_loss=\xff0.3", "val_loss", ())
@example(b"loss:=,\n0.3", "loss", ())
def test_any_output_gets_a_diagnosis_that_is_inert_and_short(
    output: bytes, sought: str, expressions: Sequence[str]
) -> None:
    diagnosis = hints(output, sought, expressions).diagnosis()

    assert diagnosis.message
    assert diagnosis.suggestion
    assert len(diagnosis.lines) <= MOST_LINES
    assert all(len(line) <= SHOWN_CHARACTERS for line in diagnosis.lines)
    assert diagnosis.text.isprintable()


@given(noise, st.sampled_from(["", "val_loss"]))
def test_every_suggested_expression_can_be_used(output: bytes, sought: str) -> None:
    diagnosis = hints(output, sought).diagnosis()
    for expression in re.findall(r"expression '([^']+)'", diagnosis.suggestion):
        MetricReader([expression])


ENDLESS = {
    "mentions": b"INFO computing the loss function over the batch of val things\n" * 30_000,
    "near": b"step 17 val loss 0.3 accuracy 0.4\n" * 60_000,
    "long lines": (b"loss " * 13_000 + b"\n") * 30,
    "one line": b"val loss" * 250_000,
    "blanks": (b"loss" + b" " * 390 + b"x\n") * 5_000,
    "quotes": (b"loss " + b"\"'|" * 130 + b"x\n") * 5_000,
    "digits": (b"1" * 300 + b" loss " + b"1," * 200 + b"\n") * 3_000,
    "returns": b"loss 0.3\r" * 200_000,
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("sought", ["val_loss", ""])
def test_output_of_any_kind_costs_little_time_and_memory(kind: str, sought: str) -> None:
    output = ENDLESS[kind]
    chunks = [output[at : at + 65536] for at in range(0, len(output), 65536)]
    found = Hints(sought, [r"(nothing)(\d)"])
    began = time.thread_time()
    for chunk in chunks:
        found.look(chunk)
    seconds = time.thread_time() - began
    tracemalloc.start()
    for chunk in chunks[:4]:
        found.look(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert seconds / (len(output) / 1e6) < 0.2  # some ms a MB on a machine of one's own
    assert peak < 2e6
