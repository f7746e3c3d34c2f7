"""Learning is a matter of chance: a test that takes a seed is run with as many as --seeds says."""


def pytest_generate_tests(metafunc):
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "seed" in metafunc.fixturenames and "seed" not in own:
        metafunc.parametrize("seed", range(metafunc.config.getoption("seeds")))
