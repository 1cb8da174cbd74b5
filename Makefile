PYTHON ?= $(shell command -v python3.11 || command -v python3)
PORT ?= 4200
ARGS ?=

bin := .venv/bin
installed := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install tune offline insights test test-slow bench bench-trials bench-offline check format settings-page ui clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
		awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

install: $(installed) ## Make .venv with AutoPipe and its tools, once (about 3 GB)

# Made again only when a dependency changes; an interrupted install leaves no stamp and goes on.
$(installed): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'AutoPipe needs Python 3.11 or newer; found: "$(PYTHON)"' `"$(PYTHON)" --version 2>&1`; \
		echo 'Install one, then name it: make install PYTHON=/path/to/python3.11'; exit 1; }
	@test -x $(bin)/python || "$(PYTHON)" -m venv .venv
	deployments/install.sh .venv
	@touch $@

tune: $(installed) ## Tune the bundled example; options in ARGS, e.g. ARGS="--help"
	$(bin)/autopipe tune $(ARGS)

test: $(installed) ## Run the tests, in two processes
	$(bin)/pytest -n 2 $(ARGS)

test-slow: $(installed) ## Run the tests that take more than ten seconds each
	$(bin)/pytest -m 'slow and not gpu' $(ARGS)

# --single-item: the models of data/models are taken as they are, not trained again.
offline: export PATH := $(CURDIR)/$(bin):$(PATH)
offline: $(installed) ## Train the offline models and judge them on datasets left out of the history
	dvc repro --single-item $(ARGS) datasets validate featurize train evaluate
	python -m flows.offline show

bench: $(installed) ## Replay the history, every strategy and peer side by side (hours)
	$(bin)/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	$(bin)/python -m benchmarks.replay run $(ARGS)
	$(bin)/python -m benchmarks.replay show --csv docs/replay.csv --picture docs/images/replay.svg

bench-offline: $(installed) ## Measure how long 20,000 past trials take until the first proposal
	$(bin)/python -m benchmarks.offline_fit

insights: $(installed) ## Say what the history knows of hyperparameters, proxies and noise
	$(bin)/python -m benchmarks.insights.flow --page docs/rules-of-thumb.md --pictures docs/images $(ARGS)

bench-trials: $(installed) ## Measure the overhead of a trial, and its speed against bare TRL
	$(bin)/python -m benchmarks.trial_overhead --model tiny-100k --model tiny-1m
	$(bin)/python -m benchmarks.trl_speed --model tiny-1m

check: $(installed) ## Lint, formatting and types; changes nothing
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

format: $(installed) ## Fix what ruff can fix
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

settings-page: $(installed) ## Write docs/settings.md, the table of all settings, from the code
	$(bin)/python -m flows.cli.settings_page docs/settings.md

ui: $(installed) ## Serve Prefect's pages on http://127.0.0.1:4200 (another port: PORT=4300)
	$(bin)/autopipe ui --port $(PORT)

clean: ## Remove caches and builds; keeps .venv, runs/ and .prefect/
	rm -rf build dist *.egg-info .ruff_cache .mypy_cache .pytest_cache .hypothesis catboost_info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
