"""Starts recording in interpreters that `tidegauge-record --torch` or `python -m tidegauge --children` has set on.

Its folder is the first of PYTHONPATH, so `site` imports it before anything of the program. It takes itself
away, has the `sitecustomize` that it hides executed under that name, and imports `tidegauge`, which starts. Any
interpreter may come here, an old one too: the syntax is that which all understand, and only what is loaded by now
is imported.
"""

import os
import sys


def _take_away(folder):
    # type: (str) -> object
    """This file is found no more, by this interpreter: those that it starts inherit PYTHONPATH as it is.

    Returns the module that this is; an old Python empties one to which nobody holds on.
    """
    sys.path[:] = [path for path in sys.path if path != folder]
    sys.path_importer_cache.pop(folder, None)
    return sys.modules.pop("sitecustomize", None)


def _start(folder):
    # type: (str) -> None
    try:
        package = _find_package()
        if package is None:
            if _is_first_to_tell(folder):
                _say(_what_is_missing())
        elif _is_to_record(package):
            import tidegauge  # noqa: F401
    except Exception as error:
        _say("NOT RECORDING: %s: %s" % (type(error).__name__, error))


def _find_package():  # type: ignore[no-untyped-def]
    """The spec of the package, of which nothing is executed."""
    if sys.version_info < (3, 10):
        return None
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
    specs = (finder.find_spec("tidegauge", None) for finder in finders)
    spec = next((spec for spec in specs if spec is not None), None)
    # A folder of that name without an `__init__` is somebody's traces.
    return spec if spec is not None and spec.origin and spec.submodule_search_locations else None


def _is_to_record(package):  # type: ignore[no-untyped-def]
    """What the package's rule says: tools and workers do not load the package for it."""
    name = "tidegauge.launch.rule"
    path = os.path.join(list(package.submodule_search_locations)[0], "launch", "rule.py")
    rule = type(sys)(name)
    # The class that loads files, without the import of it.
    type(package.loader)(name, path).exec_module(rule)
    if rule.reason_not_to_record(os.environ, sys.orig_argv, os.getpid()) is None:
        return True
    return os.environ.get("TIDEGAUGE_CHILDREN") == "1" and rule.is_fork_server(sys.orig_argv)


def _what_is_missing():
    # type: () -> str
    program = sys.executable or "this interpreter"
    if sys.version_info < (3, 10):
        version = "%d.%d" % sys.version_info[:2]
        return "NOT RECORDING inside of %s: the package tidegauge needs Python 3.10, this is %s" % (
            program,
            version,
        )
    return (
        "NOT RECORDING inside of %s: it has no package tidegauge; `%s -m pip install tidegauge` installs it"
        % (
            program,
            program,
        )
    )


def _is_first_to_tell(folder):
    # type: (str) -> bool
    """Whether nobody who uses this folder has said it of this interpreter."""
    name = "".join(character if character.isalnum() else "-" for character in sys.executable or "-")
    told = os.path.join(folder, "told", name[-200:])
    try:
        os.mkdir(told)
    except OSError:
        # Another reason: it is not the launcher's folder, or not our user's.
        return not os.path.isdir(told)
    return True


def _say(line):
    # type: (str) -> None
    try:
        sys.stderr.write("tidegauge: %s\n" % line)
    except Exception:  # standard error may be closed, or absent
        pass


def _run():
    # type: () -> None
    folder = os.path.dirname(os.path.abspath(__file__))
    this = _take_away(folder)  # noqa: F841
    try:
        # What it raises goes to `site`, as without us; if there is none, that is what `site` finds.
        import sitecustomize  # noqa: F401
    except Exception:
        if os.environ.get("TIDEGAUGE"):
            _start(folder)
        raise
    if os.environ.get("TIDEGAUGE"):
        _start(folder)


_run()
