# `make demo` and `make test` do all of their own set-up; they need cargo, python3 and a C compiler.

CARGO ?= cargo
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo-out
TARGET = $(or $(CARGO_TARGET_DIR),target)
PACKAGE = recorder/python/python
RUFF = $(abspath $(VENV))/bin/ruff --config pyproject.toml

.PHONY: demo pictures test browser python wheel soak lint doc bench bench-python fuzz fuzz-seeds miri format-doc header clean

# A real training run, recorded, then analysed: trace, summary, plots and the page with all of it in demo-out/.
# All targets, as for the tests: with the features of fewer, cargo would build polars a second time.
demo:
	$(CARGO) build --locked --workspace --all-targets
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(TARGET)/debug/burgers --run $(DEMO)/trace
	$(TARGET)/debug/tidegauge summary $(DEMO)/trace --format json -o $(DEMO)/summary.json
	$(TARGET)/debug/tidegauge summary $(DEMO)/trace --format md -o $(DEMO)/summary.md
	$(TARGET)/debug/tidegauge plot timeline $(DEMO)/trace -o $(DEMO)/timeline.svg
	$(TARGET)/debug/tidegauge plot timeline $(DEMO)/trace --step 50 -o $(DEMO)/timeline-step-50.svg
	$(TARGET)/debug/tidegauge plot phases $(DEMO)/trace -o $(DEMO)/phases.svg
	$(TARGET)/debug/tidegauge report $(DEMO)/trace --svg-dir $(DEMO)/plots -o $(DEMO)/report.html
	$(TARGET)/debug/tidegauge summary $(DEMO)/trace -o $(DEMO)/summary.txt
	@$(TARGET)/debug/tidegauge summary $(DEMO)/trace
	@echo && echo "In $(abspath $(DEMO))/: the trace, summary.txt .md .json, timeline.svg, timeline-step-50.svg, phases.svg, every plot in plots/"
	@echo "Open $(abspath $(DEMO))/report.html in a browser: all of it on one page"

# The README's pictures, drawn of the demo's trace; one is recorded if there is none. The screenshot needs chromium.
pictures:
	$(CARGO) build --locked --workspace --all-targets
	test -d $(DEMO)/trace || $(TARGET)/debug/burgers --run $(DEMO)/trace
	$(TARGET)/debug/tidegauge plot timeline $(DEMO)/trace -f -o docs/timeline.svg
	$(TARGET)/debug/tidegauge plot timeline $(DEMO)/trace --step 50 -f -o docs/timeline-step.svg
	$(TARGET)/debug/tidegauge plot breakdown $(DEMO)/trace --step 50 -f -o docs/breakdown.svg
	$(TARGET)/debug/tidegauge plot blocks $(DEMO)/trace --step 50 --by site -f -o docs/blocks.svg
	$(TARGET)/debug/tidegauge plot phases $(DEMO)/trace -f -o docs/phases.svg
	$(TARGET)/debug/tidegauge report $(DEMO)/trace -f -o $(DEMO)/report.html
	docs/screenshot $(DEMO)/report.html docs/report.png

# All tests, Rust and Python. The environment has torch in it: several GB, once.
test: $(VENV)/ready
	$(CARGO) build --locked --workspace --all-targets
	$(CARGO) test --locked --workspace
	$(MAKE) --no-print-directory python
	PYTHONPATH=$(PACKAGE) TIDEGAUGE_BINARIES=$(TARGET)/debug $(VENV)/bin/python -m pytest -n auto tests/python recorder/python/tests
	@$(MAKE) --no-print-directory browser

# What the tests of pages and plots need; said last, where it is seen. They are skipped without.
browser:
	@missing=; for program in chromium chromedriver; do \
		command -v $$program >/dev/null || missing="$$missing $$program"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo; \
		echo "**********************************************************************"; \
		echo "NOT TESTED in a browser: the report and the plots; missing:$$missing"; \
		echo "    apt-get install chromium chromium-driver"; \
		echo "**********************************************************************"; \
	fi >&2

# The Python package in place: PYTHONPATH=recorder/python/python finds it then. A running program keeps the file that it
# has mapped.
python:
	$(CARGO) build --locked --workspace --all-targets
	cp $(TARGET)/debug/libtidegauge_native.so $(PACKAGE)/tidegauge/.native.new
	mv $(PACKAGE)/tidegauge/.native.new $(PACKAGE)/tidegauge/_native.abi3.so

# A wheel for every Python from 3.10 on, in dist/.
wheel: $(VENV)/ready
	$(VENV)/bin/maturin build --release --locked --manifest-path recorder/python/Cargo.toml --out dist

# A thousand kills instead of two hundred, and how many events they left; minutes.
soak:
	$(CARGO) build --locked --workspace --all-targets
	TIDEGAUGE_KILLS=1000 $(CARGO) test --locked --workspace --test all -- --nocapture nothing_is_lost

$(VENV)/ready: tests/python/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

lint: $(VENV)/ready
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	sh .ci/dependency-direction
	cd recorder/python && $(RUFF) format --check python tests benches ../../examples/python
	cd recorder/python && $(RUFF) check python tests benches ../../examples/python
	cd recorder/python && MYPYPATH=python $(abspath $(VENV))/bin/mypy -p tidegauge

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

# Figures, side by side in one run; minutes.
bench:
	$(CARGO) bench --locked --workspace --bench record --bench analysis --bench snapshot --bench kineto --bench on_off --bench long_run

# The same for the Python package; needs `make python` and the environment of the tests.
bench-python: python $(VENV)/ready
	PYTHONPATH=$(PACKAGE) $(VENV)/bin/python recorder/python/benches/calls.py
	PYTHONPATH=$(PACKAGE) $(VENV)/bin/python recorder/python/benches/training.py
	PYTHONPATH=$(PACKAGE) $(VENV)/bin/python recorder/python/benches/allocator.py

# Files of other tools, damaged at random for a minute; `make test` does it too. fuzz/README.md tells of a real fuzzer.
fuzz:
	$(CARGO) test --locked --workspace --test all -- --nocapture mutations

fuzz-seeds:
	$(CARGO) run --locked -p tidegauge-tests --bin foreign-samples fuzz/corpus/recordings

# The journal's unsafe code, interpreted; needs `rustup component add miri --toolchain nightly`. Minutes.
miri:
	MIRIFLAGS="-Zmiri-permissive-provenance -Zmiri-disable-isolation" CARGO_TARGET_DIR=$(TARGET)/miri \
		$(CARGO) +nightly miri test --locked -p tidegauge-recorder --lib -- slots_tests

# Writes schemas/FORMAT.md anew from the code.
format-doc:
	UPDATE_FORMAT=1 $(CARGO) test --locked --workspace --lib format_md_is_what_the_code_says

# Writes recorder/include/tidegauge.h anew from recorder/src/c_api.
header:
	UPDATE_HEADER=1 $(CARGO) test --locked --workspace --test c_header tidegauge_h_is_what_the_code_says

clean:
	rm -rf $(DEMO) $(VENV) dist
	$(CARGO) clean
