"""Seeds are the same on every machine, and no two streams are one."""

from ttfs.seeds import seed


def test_a_seed_is_the_same_everywhere():
    assert seed("mnist", "fc2", 0, "init") == 4216532828539775634


def test_streams_differ_by_every_axis():
    axes = [
        (d, m, s, n)
        for d in ("a", "b")
        for m in ("a", "b")
        for s in (0, 1)
        for n in ("init", "order", "dropout")
    ]
    assert len({seed(*names) for names in axes}) == len(axes)


def test_torch_takes_every_seed():
    assert all(0 <= seed("x", k) < 2**63 for k in range(1000))
