"""Even shares of the streams: everything is somebody's, nobody has more than others by more than one."""

from hypothesis import given
from hypothesis import strategies as st

from chatnode.worker.share import Share, fair_share, surplus


@given(streams=st.integers(1, 100), workers=st.integers(1, 100))
def test_shares_cover_everything_and_no_share_is_larger_than_it_has_to_be(streams: int, workers: int) -> None:
    share = fair_share(streams, workers)
    assert share * workers >= streams
    assert (share - 1) * workers < streams


@given(held=st.sets(st.text("abc", min_size=1, max_size=3), max_size=9), share=st.integers(0, 9))
def test_what_is_given_back_leaves_the_share(held: set[str], share: int) -> None:
    assert len(held - surplus(held, share)) == min(len(held), share)


def test_a_worker_takes_no_more_than_its_share_and_keeps_what_it_has_until_another_comes() -> None:
    share = Share(4)
    for name in "abc":
        assert share.may_take(name)
        share.holds(name, held=True)
    assert not any(share.gives_back(name) for name in "abc")
    share.workers(2)
    assert [name for name in "abc" if share.gives_back(name)] == ["c"]
    share.holds("c", held=False)
    assert [name for name in "abcd" if share.may_take(name)] == ["a", "b"]
    share.workers(1)
    assert all(share.may_take(name) for name in "abcd")
