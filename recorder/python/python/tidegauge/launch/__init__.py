"""Recording programs that do not start a recorder themselves.

    rule.py          who records by itself and who does not
    autostart.py     `TIDEGAUGE` in the environment, when the package is imported
    children.py      processes that a recorded one starts, where they are to record too
    post_import.py   what waits for torch to be imported
    command.py       `python -m tidegauge train.py`: options.py, run_name.py, program.py

`../bootstrap/sitecustomize.py` comes before all of this in interpreters that `tidegauge-record --torch` has
started.
"""
