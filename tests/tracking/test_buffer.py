from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

from nnstudy.tracking.buffer import METRICS_PER_BATCH, TAGS_PER_BATCH, Buffer, cut, valid_key


@given(st.text())
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    _validate_metric_name(valid_key(name))
    _validate_tag_name(valid_key(name))


@given(st.from_regex(r"[a-z_]+(/[a-z0-9_.]*[a-z0-9])?", fullmatch=True))
def test_a_good_name_stays_as_it_is(name: str) -> None:
    assert valid_key(name) == name


@given(st.integers(0, 3 * METRICS_PER_BATCH), st.integers(0, 2 * TAGS_PER_BATCH))
def test_batches_hold_everything_once_and_in_order(points: int, tags: int) -> None:
    buffer = Buffer()
    for step in range(points):
        buffer.add({"loss": step}, step=step, timestamp=step)
    buffer.tag({f"tag{number}": number for number in range(tags)})
    steps, seen = [], {}
    while buffer:
        batch = buffer.next_batch()
        assert len(batch.points) + len(batch.tags) <= 1000
        steps += [step for _, _, _, step in batch.points]
        seen.update(batch.tags)
        buffer.drop(batch)
    assert steps == list(range(points))
    assert len(seen) == tags


def test_a_tag_set_while_an_older_value_was_on_its_way_is_kept() -> None:
    buffer = Buffer()
    buffer.tag({"state": "RUNNING"})
    batch = buffer.next_batch()
    buffer.tag({"state": "COMPLETE"})
    buffer.drop(batch)
    assert buffer.tags == {"state": "COMPLETE"}


@given(st.text(max_size=50), st.integers(1, 60))
def test_cut_keeps_the_limit_and_short_texts(text: str, longest: int) -> None:
    assert len(cut(text, longest)) <= longest
    if len(text) <= longest:
        assert cut(text, longest) == text
