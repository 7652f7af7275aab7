"""Fixtures of the integration tests."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from support.certbot_runner import CertbotRunner
from support.pebble import Pebble
from support.practice_ca import PracticeCa, need_practice_ca
from support.resolver import every_name_is_here

from certbot_garr_tcs.sandbox.certbot import find_certbot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def practice_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PracticeCa]:
    """Run one practice CA for a module whose tests do not mind what others asked of it."""
    need_practice_ca()
    with PracticeCa(tmp_path_factory.mktemp("practice-ca")) as ca:
        yield ca


@pytest.fixture(scope="module")
def due_cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PracticeCa, PracticeCa]]:
    """Run two practice CAs for a module; what they issue is due at once."""
    need_practice_ca()
    with contextlib.ExitStack() as running:
        folders = tmp_path_factory.mktemp("first-ca"), tmp_path_factory.mktemp("second-ca")
        names = ("First CA", "Second CA")
        cas = [PracticeCa(folder, name=name, always_due=True) for folder, name in zip(folders, names)]
        first, second = [running.enter_context(ca) for ca in cas]
        yield first, second


@pytest.fixture
def make_practice_ca(tmp_path: Path) -> Iterator[Callable[..., PracticeCa]]:
    """Start practice CAs with the options of support.practice_ca; all are stopped after the test."""
    need_practice_ca()
    with contextlib.ExitStack() as running:
        started: list[PracticeCa] = []

        def make(**options: object) -> PracticeCa:
            folder = tmp_path / f"ca-{len(started)}"
            ca = running.enter_context(PracticeCa(folder, **options))  # type: ignore[arg-type]
            started.append(ca)
            return ca

        yield make


@pytest.fixture
def make_faulty_ca(make_practice_ca: Callable[..., PracticeCa]) -> Callable[..., PracticeCa]:
    """Start practice CAs that ``set_faults`` makes fail."""

    def make(**options: object) -> PracticeCa:
        return make_practice_ca(faulty=True, **options)

    return make


@pytest.fixture
def make_certbot(tmp_path: Path) -> Callable[..., CertbotRunner]:
    """Bind certbots to folders of their own; ``executable``: that of another virtual environment."""
    made: list[CertbotRunner] = []

    def make(executable: Path | None = None) -> CertbotRunner:
        runner = CertbotRunner(executable or find_certbot(), tmp_path / f"certbot-{len(made)}")
        made.append(runner)
        return runner

    return make


@pytest.fixture
def certbot(make_certbot: Callable[..., CertbotRunner]) -> CertbotRunner:
    """Bind this environment's certbot to folders of its own."""
    return make_certbot()


@pytest.fixture
def make_pebble(tmp_path: Path) -> Iterator[Callable[..., Pebble]]:
    """Start Pebbles with the fields of support.pebble.Pebble; all are stopped after the test."""
    with contextlib.ExitStack() as running:
        started: list[Pebble] = []

        def make(**options: object) -> Pebble:
            pebble = running.enter_context(Pebble(tmp_path / f"pebble-{len(started)}", **options))  # type: ignore[arg-type]
            started.append(pebble)
            return pebble

        yield make


@pytest.fixture
def pebble(make_pebble: Callable[..., Pebble]) -> Pebble:
    """Run one Pebble that wants EAB and validates for real."""
    return make_pebble()


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a name server to whom every name is this machine; its address and port."""
    with every_name_is_here(tmp_path_factory.mktemp("resolver") / "server.log") as address:
        yield address
