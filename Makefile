# billing_etl: `make run` and `make test` are the two commands; `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: help run test browser screenshots lint format unit e2e prove mutate break damage dictionary bench audit lock clean install

help: ## shows this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed ## makes .venv with the pinned dependencies

$(VENV)/.installed: requirements.txt requirements-uv.txt install.sh
	PYTHON="$(PYTHON)" ./install.sh
	@touch $@

run: install ## the whole line with embedded services and development sources; ONCE=1 ends by itself
	@exec $(BIN)/python -m billing_etl.local.run $(if $(filter-out 0,$(ONCE)),--once)

test: lint ## lint, types and every test, on the embedded services, side by side
	$(BIN)/python -m pytest -n auto --dist loadfile

unit: install ## the tests without network and services, in seconds
	$(BIN)/python -m pytest -q tests/unit

e2e: install ## the tests that run the real scheduler, or a browser
	$(BIN)/python -m pytest -m e2e

browser: ## Chromium for the tests of the Billing page, by apt-get where it is missing
	@command -v chromium >/dev/null || { $(AS_ROOT) apt-get update -qq && \
		$(AS_ROOT) apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }

screenshots: install browser ## the pictures in docs/images, of the run of docs/walkthrough.md
	@command -v pngquant >/dev/null || $(AS_ROOT) apt-get install -y -qq --no-install-recommends pngquant >/dev/null
	SCREENSHOTS=docs/images $(BIN)/python -m pytest -q tests/e2e/test_walkthrough.py tests/e2e/test_page_alone.py
	pngquant --force --strip --skip-if-larger --ext .png docs/images/*.png

lint: install ## ruff, format check and strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## formats the code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format .

prove: install ## ten thousand random steps and 200 kills against an independent oracle; SEED=7 repeats
	PYTHONPATH=tests $(BIN)/python -m proof.prove $(if $(SEED),--seed $(SEED))

mutate: install ## breaks the pure rooms on purpose, about 4,000 times: which tests notice?
	$(BIN)/python tests/mutation/mutate.py

break: install ## breaks each rule once, in a copy: which test notices? RULE=C5,R4 picks; WALK=1: the walk?
	PYTHONPATH=tests $(BIN)/python -m proof.break_rules $(if $(RULE),--rule $(RULE)) \
		$(if $(filter-out 0,$(WALK)),--by-walk)

damage: install ## damages hours in every known way and writes the table of docs/reconciliation.md
	PYTHONPATH=tests $(BIN)/python -m reconciliation.damage_table

dictionary: install ## writes docs/data-dictionary.md from the comments of the database
	$(BIN)/python -m billing_etl.local.dictionary

bench: install ## the table of speed, memory and storage goals; QUICK=1 ROWS=hour,memory COMPARE=FILE NAME=x
	$(BIN)/python -m benchmarks $(if $(filter-out 0,$(QUICK)),--quick) $(if $(ROWS),--rows $(ROWS)) \
		$(if $(COMPARE),--compare $(COMPARE)) $(if $(NAME),--name $(NAME))

audit: install ## known vulnerabilities of the locked packages; one line where the index tells none
	@$(BIN)/python -m billing_etl.local.audit

# pip 23.2 (of Python 3.11.7) wants what is required with and without extras pinned in both forms.
lock: install ## compiles requirements.in into requirements.txt
	$(BIN)/uv pip compile requirements.in --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --no-strip-extras -q -o requirements.txt
	awk '/^[^ ]/ { printf "%s", plain; plain = ""; extras = /\[/ } { print } \
		extras { sub(/\[[^]]*\]/, ""); plain = plain $$0 "\n" } END { printf "%s", plain }' \
		requirements.txt > requirements.txt.new
	mv requirements.txt.new requirements.txt

clean: ## removes the environment, the embedded services' data and caches
	-@test ! -x $(BIN)/python || $(BIN)/python -m billing_etl.local.postgres .data/postgres
	rm -rf $(VENV) .data .mypy_cache .ruff_cache .pytest_cache *.egg-info
