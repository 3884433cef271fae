"""Things in order, of which any stretch is found."""

from hypothesis import given
from hypothesis import strategies as st

from mcp_server.watches.ordered import Ordered

Place = tuple[int, str]
PLACES = st.tuples(st.integers(0, 3), st.sampled_from("xyz"))
KEYS = st.sampled_from("abcde")


@given(st.lists(st.tuples(KEYS, st.none() | PLACES)), PLACES, st.integers(0, 6))
def test_any_page_equals_a_slice_of_the_sorted_whole(
    changes: list[tuple[str, Place | None]], before: Place, limit: int
) -> None:
    ordered, plain = Ordered[str, Place](), dict[str, Place]()
    for key, place in changes:
        if place is None:
            ordered.drop(key)
            plain.pop(key, None)
        else:
            ordered.put(key, place)
            plain[key] = place
    newest = sorted(plain, key=lambda key: (plain[key], key), reverse=True)
    assert ordered.last(limit) == newest[:limit]
    assert ordered.last(limit, before) == [key for key in newest if plain[key] < before][:limit]
