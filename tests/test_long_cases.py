"""Which cases `make test` leaves out."""

from long_cases import LIST, choose, long_cases


def test_the_cheapest_case_of_a_test_stays_unless_it_is_long_itself():
    seconds = {"a[1]": 0.4, "a[2]": 0.1, "a[3]": 0.5, "b[1]": 2.0, "b[2]": 1.0, "c": 1.7, "d": 1.8}
    assert choose(seconds) == ["a[1]", "a[3]", "b[1]", "d"]


def test_every_listed_case_is_of_a_file_that_is_there():
    assert all((LIST.parents[1] / case.partition("::")[0]).exists() for case in long_cases())
