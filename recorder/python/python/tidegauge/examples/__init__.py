"""Small programs that show each monitor with what it prints: `python -m tidegauge.examples`."""
