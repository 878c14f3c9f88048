.DEFAULT_GOAL := help
# The oldest Python that the lock file was made for, or the newest at hand.
PYTHON ?= $(shell for v in 3.11 3.12 3.13 3.14; do python$$v --version >/dev/null 2>&1 && echo python$$v && exit; done; echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Every package that the tests ran with, each with the hashes of its files.
LOCK := requirements.lock
TORCH := $(shell grep -o '^torch==[0-9.]*' $(LOCK))
# Worker processes, not threads, use the cores; results do not depend on the machine's thread count.
export OMP_NUM_THREADS ?= 1
# Nothing is compiled when it is installed, so whoever loads it first keeps the compiled form.
unexport PYTHONDONTWRITEBYTECODE
# Processes that tests of each kind are spread over: one more than two cores, since tests also wait. Which are chosen:
# calibration is statistics over many studies, for changes of the mathematics and for the night (SELECT='not gpu').
PROCESSES ?= 3
SELECT ?= not gpu and not calibration
# What else pytest is told.
SHOWN ?=
TOGETHER := $(MAKE) --no-print-directory --jobs
BEGAN := $(shell date +%s)
took = @echo "make $@: $$(( $$(date +%s) - $(BEGAN) )) s"

.PHONY: help
help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: venv
venv: $(READY)  ## Set up .venv with pinned versions

# An environment with the CPU build of torch: from the configured index, else from PyTorch's own, else
# whatever build there is. Only the last attempt may complain; what it came to is said in one line.
define environment
@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
@command -v uv >/dev/null || $(1)/bin/python -m pip install --quiet uv 2>/dev/null || true
@$(1)/bin/python -m pip install $(TORCH_ONLY) '$(TORCH)+cpu' 2>/dev/null \
  || $(1)/bin/python -m pip install $(TORCH_ONLY) --retries 1 --index-url https://download.pytorch.org/whl/cpu '$(TORCH)' 2>/dev/null \
  || $(1)/bin/python -m pip install $(TORCH_ONLY) '$(TORCH)'
@$(1)/bin/python -c 'from importlib.metadata import version; print("$(1): torch", version("torch"))'
endef
TORCH_ONLY := --quiet --no-deps --no-compile
EXTRAS := '.[dev,docs]'

# The rest into such an environment: by uv, in seconds; in minutes by pip, which takes no hashes for
# packages that are not named one by one.
define packages
@PATH="$$PATH:$(1)/bin"; uv pip install --quiet --python $(1)/bin/python $(2) 2>$(1)/uv.log \
  || { sed -n 's/^\([a-z].*[^ ]\) *\\$$/\1/p' $(LOCK) > $(1)/pins.txt; $(1)/bin/python -m pip install -qq $(2:$(LOCK)=$(1)/pins.txt); }
endef

$(READY): pyproject.toml $(LOCK)
	$(call environment,$(VENV))
	$(call packages,$(VENV),--constraint $(LOCK) --editable $(EXTRAS))
	@touch $@

.PHONY: lock
lock: $(READY)  ## Write requirements.lock anew: what is pinned stays, but for RENEW=--upgrade or RENEW='--upgrade-package NAME'
	PATH="$$PATH:$(BIN)"; uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
	  --no-annotate --custom-compile-command 'make lock' $(RENEW) pyproject.toml --output-file $(LOCK)

.PHONY: package
package: $(READY)  ## Wheel, sdist, bill of materials and release notes in dist/, the wheel tried in an empty environment
	.ci/package
	$(took)

.PHONY: notes
notes:  ## Release notes: the newest part of the changelog
	@awk '/^## / { part++; next } part == 1' CHANGELOG.md

.PHONY: demo
demo: $(READY)  ## Tune a small language model for real: small runs, a recommendation, the check
	$(BIN)/horizon-bo demo --figure demo.png

.PHONY: report
report: $(READY)  ## Write report.html: what a report of the sweep that ships looks like
	$(BIN)/horizon-bo report --example -o report.html

.PHONY: lint
lint: $(READY)  ## Format and lint, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: $(READY)  ## Static types
	$(BIN)/pyright --pythonpath $(BIN)/python

# Tests that compute share the machine with those that mostly wait for processes that they start, and with
# whatever else is asked for; each file is one process's, so that what it sets up is set up once. Then come
# those that need the machine for themselves.
.PHONY: computing waiting alone
computing: $(READY)
	$(BIN)/pytest -q --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(SHOWN) \
	  -m "($(SELECT)) and not waits and not alone"
waiting: $(READY)
	$(BIN)/pytest -q --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(SHOWN) \
	  -m "($(SELECT)) and waits" $$(grep -rl --include='*.py' 'mark\.waits' tests)
alone: $(READY)
	$(BIN)/pytest -q $(SHOWN) -m "($(SELECT)) and alone" $$(grep -rl --include='*.py' 'mark\.alone' tests)

QUICK := SELECT='not slow and not heavy and not gpu'
.PHONY: quick
quick: $(READY)  ## Quick tests
	$(TOGETHER) computing waiting $(QUICK)
	$(TOGETHER) alone $(QUICK)

.PHONY: check
check: lint  ## Lint, types and quick tests: what a commit must pass
	$(TOGETHER) types computing waiting $(QUICK)
	$(TOGETHER) alone $(QUICK)
	$(took)

COUNT ?= 25000
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
.PHONY: fuzz
fuzz: $(READY)  ## Odd and damaged inputs of every kind: make fuzz COUNT=25000 SEED=1, else of a fresh seed that is printed
	HORIZON_BO_FUZZ=$(COUNT) HORIZON_BO_FUZZ_SEED=$(SEED) $(BIN)/pytest -q --numprocesses $(PROCESSES) --dist load tests/*/test_fuzz.py
	$(took)

# The notice it silences is the theme's, about another tool.
.PHONY: docs
docs: $(READY)  ## The documentation in site/; a dead link or any other warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: test
test: lint  ## Everything: lint, types, documentation, all tests
	$(TOGETHER) types docs computing waiting SHOWN='--durations 15'
	$(TOGETHER) alone SHOWN='--durations 15'
	$(took)

RIVALS := peers neps hebo vizier
# CARBS is in no package index; a folder with its source will do too.
CARBS ?= carbs @ git+https://github.com/imbue-ai/carbs@8f7fee08658ad567d9dd6b6233247bc37d9962ea

.PHONY: rivals
rivals: $(RIVALS:%=.rivals/%/.ready)  ## Set up an environment for each group of rival libraries
	.rivals/peers/bin/python -m pip install --quiet --no-deps '$(CARBS)' \
	  || echo 'CARBS is not installed: its repository is not reachable'

# The pins are complete, and some of them contradict what their packages say they need.
.rivals/%/.ready: benchmarks/rivals/requirements/%.txt
	$(call environment,.rivals/$*)
	$(call packages,.rivals/$*,--no-deps --requirement $<)
	@touch $@

.PHONY: rivals-test
rivals-test: rivals  ## Each rival library against the protocol, in its own environment
	for name in $(RIVALS); do \
	  .rivals/$$name/bin/python -m pytest -q -W ignore tests/benchmarks/test_rivals.py || exit 1; \
	done

# Folder of the public sweeps and their cases, and the benchmark's budgets and prior centres.
CASES ?= $(HORIZON_BO_DATA)/cases.json
BENCH := -W ignore -m benchmarks.harness.bench --jobs 2 --out build/bench
AROUND = --prior-center $(1)e-3 --prior-center $(2)e-3 --prior-center $(3)e-3
STEPLAW := $(BENCH) --cases $(CASES) $(call AROUND,0.5,1.5,4.5)

.PHONY: bench
bench: $(READY)  ## Replay every method that is installed on all cases; hours, goes on where it was
	test -f "$(CASES)" || { echo "CASES is '$(CASES)', expected cases.json; set HORIZON_BO_DATA" >&2; exit 2; }
	$(BIN)/python -m benchmarks.harness.cache unpack build/bench
	$(BIN)/python -m benchmarks.problems.synthetic build/worlds --seeds 3
	$(BIN)/python -m benchmarks.problems.hidden_cases horizon_bo/data/stdlib_gpt.csv build/stdlib
	$(BIN)/python -m benchmarks.problems.sweeps get steplaw-moe --folder build/moe \
	  && $(BIN)/python -m benchmarks.problems.hidden_cases build/moe/steplaw-moe.csv build/moe --experts \
	  || echo "no network: the expert models are left out"
	-for bin in $(BIN) $(wildcard .rivals/*/bin); do \
	  $$bin/python $(STEPLAW) --only 'same-*'; \
	  $$bin/python $(STEPLAW) --only 'same-*' --experiment quarter --budget 0.05; \
	  $$bin/python $(STEPLAW) --only 'same-*' --experiment eighth --budget 0.05; \
	  $$bin/python $(STEPLAW) --only 'same-*' --experiment parallel --budget 0.1; \
	  $$bin/python $(BENCH) --cases build/worlds/cases.json --prior-center 1.5e-3 --budget 0.1; \
	  $$bin/python $(BENCH) --cases build/stdlib/cases.json $(call AROUND,2,6,18) --budget 0.1 --budget 0.25; \
	  test ! -f build/moe/cases.json || $$bin/python $(BENCH) --cases build/moe/cases.json \
	    $(call AROUND,0.2,0.6,1.8) --budget 0.1 --budget 0.25; \
	done
	-$(BIN)/python $(STEPLAW) --only 'same-*' --methods ablations --budget 0.1
	-$(BIN)/python $(STEPLAW) --only 'any-*' --methods horizon,zero --budget 0.1
	-$(BIN)/python $(STEPLAW) --only 'own-size-*' --methods horizon,zero --budget 0.1
	$(BIN)/python -m benchmarks.harness.cache pack build/bench
	$(BIN)/python -m benchmarks.report.page $(CASES) build/*/cases.json

# A part of it elsewhere: make bench-open SHARE=2/5; join the lines of build/open afterwards.
SHARE ?= 1/1
.PHONY: bench-open
bench-open: $(READY)  ## Race on emulators of the public sweeps, where anything may be run; hours, goes on
	$(BIN)/python -m benchmarks.emulators build
	$(BIN)/python -m benchmarks.harness.open_race --share $(SHARE) --out build/open

.PHONY: bench-smoke
bench-smoke: $(READY)  ## Every method of the core environment once, on the sweep that ships
	rm -rf build/smoke
	$(BIN)/python -m benchmarks.harness.bench --cases benchmarks/smoke.json --budget 0.2 --prior-center 0.01 \
	  --out build/smoke
