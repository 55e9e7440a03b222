import os

from robo4d.episodes.workers import Workers


def variable_in_workers(name, *, count):
    # os.getenv has the signature of a job, and a fresh process can import it by name.
    found, jobs = [], iter([name])
    Workers(count, os.getenv).run(lambda: next(jobs, None), lambda _, value: found.append(value), lambda share: None)
    return found[0]


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)

    assert variable_in_workers("OMP_NUM_THREADS", count=2) == "4"
    assert variable_in_workers("OMP_NUM_THREADS", count=9) == "1"
    assert "OMP_NUM_THREADS" not in os.environ


def test_threads_that_the_user_chose_are_left_to_workers(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    assert variable_in_workers("OMP_NUM_THREADS", count=2) == "3"
    assert os.environ["OMP_NUM_THREADS"] == "3"
