"""What jaxtyping's import hook costs: it checks a sample of a function's calls, and leaves the libraries alone.

Checked at every call, a run of the simulated cell takes three times as long. And the hook, which keeps the bytecode of
checked modules under names of their own, would look for that of the libraries they import under these names, in vain.
"""

import functools
import inspect
from collections import Counter
from importlib.machinery import SourceFileLoader
from unittest.mock import patch

import jaxtyping
from jaxtyping import _import_hook

CHECKED_FIRST, CHECKED_EVERY = 20, 100
"""The calls of a function that are checked in a test: the first ones, and one of so many of the others."""
calls = Counter()
jaxtyped_always = jaxtyping.jaxtyped


def pytest_runtest_setup():
    calls.clear()


def jaxtyped(*, typechecker):
    def decorate(target):
        plain = target.__init__ if inspect.isclass(target) else target
        decorated = jaxtyped_always(target, typechecker=typechecker)
        checked = decorated.__init__ if inspect.isclass(target) else decorated
        if checked is plain or not inspect.isfunction(plain):
            return decorated

        @functools.wraps(checked)
        def sampled(*args, **kwargs):
            __tracebackhide__ = True
            calls[sampled] += 1
            count = calls[sampled]
            return (plain if count > CHECKED_FIRST and count % CHECKED_EVERY else checked)(*args, **kwargs)

        if not inspect.isclass(target):
            return sampled
        target.__init__ = sampled
        return target

    return decorate


def get_code(loader, fullname):
    name = functools.partial(_import_hook._optimized_cache_from_source, loader._typechecker.get_hash())
    with patch("importlib._bootstrap_external.cache_from_source", name):
        return SourceFileLoader.get_code(loader, fullname)


jaxtyping.jaxtyped = jaxtyped
_import_hook._JaxtypingLoader.get_code = get_code
_import_hook._JaxtypingLoader.exec_module = SourceFileLoader.exec_module
