"""`python -m tidegauge [OPTIONS] train.py …` records a program as it is: `launch/command.py`."""

from tidegauge.launch.command import main

if __name__ == "__main__":
    main()
