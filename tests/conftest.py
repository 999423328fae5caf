"""Strict JAX for every test: no silent promotion, four fake CPU devices, quick compilation.

float64 is on, because most oracles need it; a test of float32 makes float32 inputs, or takes the
`x32` fixture, which is what a user who sets nothing has.
"""

import contextlib
import gc
import importlib
import os
import zlib
from importlib import metadata
from pathlib import Path

# Compiling is most of what the tests take: code that is not optimised compiles nine times faster,
# and a program in one piece, whose loops are left as they are, a third faster again. jaxlib from
# 0.12 on does not know the last two flags, and one that is not known ends the process.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    + " --xla_llvm_disable_expensive_passes=true --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_disable_hlo_passes=while-loop-invariant-code-motion,simplify-while-loops"
    + " --xla_cpu_use_fusion_emitters=false --xla_llvm_force_inline_before_split=false"
    * (metadata.version("jaxlib") < "0.12")
)

import jax
import jax.random as jr
import pytest

from long_cases import long_cases

ROOT = Path(__file__).parent.parent

# Tracing makes millions of small objects and few cycles: to look for those at every 700th object
# took a sixth of the time. To look too seldom costs more: the heap grows, and all slows down.
gc.set_threshold(50_000, 10, 10)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


class SmallProcesses:
    """Let go of the programs of the last files before there are many.

    A process that keeps them slows down: after two thousand tests one took three times as long as
    in a new process. Each holds some memory maps too, and Linux ends a process that asks for more
    than 65,530 of them: XLA then fails with a segmentation fault. A plugin and no fixture, for the
    examples in docstrings lie outside of this folder.
    """

    def pytest_runtest_teardown(self, item, nextitem):
        if nextitem is None or nextitem.path != item.path:
            let_go_of_programs(3000)


def let_go_of_programs(most: int) -> None:
    """Forget what was compiled, where the process holds more than so many memory maps."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > most:
        jax.clear_caches()
        gc.collect()
        gc.freeze()  # what is left is there to stay: no later search need look at it


def pytest_configure(config):
    config.pluginmanager.register(SmallProcesses())


def pytest_make_parametrize_id(val, argname):
    """Name a case of bytes by its argument: processes that collect must agree on every name.

    What gzip packs holds the second in which it was packed.
    """
    return argname if isinstance(val, bytes) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    if "ALL_CASES" in os.environ:
        return  # each is measured
    listed = long_cases()
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def key(request):
    """A key that depends only on the name of the test."""
    return jr.key(zlib.crc32(request.node.name.encode()))


@pytest.fixture
def shared_programs():
    """For long tests: each finds what the ones before it compiled, until there is much of it."""
    yield
    let_go_of_programs(10_000)


@pytest.fixture
def x32():
    """JAX as it is out of the box: float32, and ordinary promotion."""
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def promotion():
    """Ordinary promotion of dtypes and ranks, on which NumPyro's constructors rely."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def docs_script(monkeypatch):
    """A script of docs/ by its name, with those beside it, as where it is run."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty working folder, and an environment that is put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.environ", os.environ.copy())


@pytest.fixture
def full_disk():
    """A disk that takes no file of more than so many bytes, while a block lasts."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def full_disk(room=0):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full_disk


@pytest.fixture
def pullback(workplace, capsys):
    """The command: its exit status, and what it says on stdout and stderr."""
    from pullback import cli

    def pullback(*argv):
        status = cli.main([str(word) for word in argv])
        return status, *capsys.readouterr()

    return pullback
