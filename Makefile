# Python 3.11 or newer, pip and make are all it takes; the stories on Apache Kafka (and so `make check`) need Java 17 or
# newer and Maven. Paths are relative, so a clone may lie anywhere.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
READY := $(VENV)/.ready
SOURCES := domain crypto projections services benchmarks
JARS := build/kafka/.ready
# Much of these is waiting, so two at a time. After a failure kafka-python's forgotten sockets would bury what is said.
STORIES := $(RUN) pytest -m kafka -n 2 --dist loadfile -v -rP --show-capture=stdout -W 'ignore:Exception ignored in' \
	tests/kafka

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-kills model test-kafka test-kafka-smoke kafka-jars check large docs bench bench-smoke bench-turn lock clean

help: ## Say what there is to say.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Create .venv with the pinned packages and this project in it.

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "sealdesk needs Python 3.11 or newer; say which with: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(RUN) pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## Publish a helpdesk, forget a person, look what is left.
	@$(RUN) services.demo

test: $(READY) ## Run the tests, but for those on Apache Kafka.
	$(RUN) pytest -n 2
	@echo "Not run: the stories on Apache Kafka, which need Java and minutes: make test-kafka-smoke"

test-kills: $(READY) ## Kill commands behind every step of theirs that is kept, not only behind some.
	SEALDESK_TEST_KILLS=all $(RUN) pytest tests/acceptance/test_killed_at_each_step.py -v -rP --timeout 3600

model: $(READY) ## Step through the protocol further than `make test` does: every pair, every point, two switches.
	SEALDESK_TEST_SWITCHES=2 $(RUN) pytest -n 2 --timeout 0 tests/protocol

test-kafka-smoke: $(READY) $(JARS) ## Run the stories on Apache Kafka, small: every fault once.
	$(STORIES)

test-kafka: $(READY) $(JARS) ## Run them as large as the promises say: 200,000 records, a kill every few seconds.
	SEALDESK_TEST_RECORDS=200000 $(STORIES)

kafka-jars: $(JARS)

$(JARS): tests/kafka/pom.xml
	@command -v java >/dev/null && command -v mvn >/dev/null || \
		{ echo "The stories on Apache Kafka need Java 17 or newer and Maven: apt-get install openjdk-17-jre-headless maven"; exit 1; }
	rm -rf build/kafka
	mvn --quiet --batch-mode --file tests/kafka/pom.xml
	@touch $(JARS)

check: $(READY) ## Run everything that has to pass, fastest first.
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy $(SOURCES)
	$(VENV)/bin/lint-imports
	$(RUN) pytest -n 2
	$(MAKE) bench-smoke
	$(MAKE) test-kafka-smoke

large: $(READY) ## Generate 100,000 tickets, take them in, forget a tenth of the people.
	SEALDESK_TEST_TICKETS=100000 $(RUN) pytest tests/acceptance/test_generated_desk.py

docs: $(READY) ## Write the generated documents anew.
	@$(RUN) services.describing.documents

bench: $(READY) ## Measure the figures, each a ratio within one run.
	$(RUN) benchmarks

bench-smoke: $(READY) ## See whether anything has become slower by a third, by ratios of CPU times in small runs.
	$(RUN) benchmarks.smoke

bench-turn: $(READY) ## Measure a turn of the root epoch with 10,000, 100,000 and 1,000,000 people.
	for subjects in 10000 100000 1000000; do \
		$(RUN) benchmarks turn --subjects $$subjects --repeats 2 || exit 1; \
	done

lock: $(READY) ## Pin the requirements anew, with hashes.
	$(RUN) pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' \
		--extra build pyproject.toml -o requirements/runtime.txt
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --custom-compile-command 'make lock' --constraint requirements/runtime.txt \
		--extra build --extra dev pyproject.toml -o requirements/dev.txt

clean: ## Remove .venv and whatever tools have left.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
