"""So many requests at once, and so many that wait."""

import asyncio

import pytest

from dbcalm.api.pool import Pool
from dbcalm.errors import Unavailable


def test_some_have_their_turn_some_wait_and_the_rest_are_turned_away() -> None:
    asyncio.run(_crowd())


async def _crowd() -> None:
    pool, go_on, had = Pool(threads=2, waiting=3), asyncio.Event(), []

    async def one(number: int) -> None:
        async with pool.turn():
            had.append(number)
            await go_on.wait()

    crowd = [asyncio.create_task(one(number)) for number in range(5)]
    await asyncio.sleep(0.01)
    assert had == [0, 1]
    with pytest.raises(Unavailable, match="too many requests at once"):
        async with pool.turn():
            pass
    go_on.set()
    await asyncio.gather(*crowd)
    assert had == [0, 1, 2, 3, 4]
    async with pool.turn():  # Who failed or waited has given everything back.
        had.append(5)
    assert had[-1] == 5
