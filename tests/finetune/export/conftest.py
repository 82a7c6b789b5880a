"""Runs on a very small network, to be exported."""

import pytest
from networks import Zoo
from photos import crops

import finetune


@pytest.fixture(scope="package")
def photos(tmp_path_factory):
    return crops(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="package")
def network(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("zoo"))("test_efficientnet").entry.name


@pytest.fixture(scope="package")
def run_of(photos, network, tmp_path_factory):
    """Makes the run of a strategy, once."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def make(strategy="probe", **options):
        if strategy in ("probe", "kernel"):  # by default they choose
            options = {"features": "last", **options}
        key = "-".join([strategy, *map(str, options.values())])
        if key not in made:
            made[key] = finetune.fit(
                photos, network, strategy, out=folder / key, engine="torch", copies="ignore", **options
            )
        return made[key].path

    return make
