"""`python -m tidegauge [OPTIONS] train.py …` records a program that knows nothing of it; see `launch/command.py`."""

from tidegauge.launch.command import main

if __name__ == "__main__":
    main()
