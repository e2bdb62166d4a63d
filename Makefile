# make run    starts everything with embedded defaults and ends with a URL where music plays (PORT=, DATA=)
# make test   runs every test, Chromium included, with two workers (tests/conftest.py; ARGS=-n0: one after the other)
# make lint   formatter, linter, types, import contract
# Each sets up what it needs: Debian packages where it may, .venv, npm packages, the built player.

PORT ?= 8080
DATA ?=

PYTHON := .venv/bin/python
PLAYER := static/dist/assets.json
PLAYER_SOURCES := $(shell find digm web -name '*.py' -o -name '*.mjs') package-lock.json

.PHONY: run test lint bench clean
.DEFAULT_GOAL := run

run: .venv/.installed $(PLAYER)
	@exec .venv/bin/digm up --port $(PORT) $(if $(DATA),--data "$(DATA)")

test: .venv/.installed node_modules/.installed-for-tests $(PLAYER)
	@.ci/system-packages chromium curl ffmpeg ip nft nginx sox tc turnserver
	@$(PYTHON) -m pytest -n2 $(ARGS)

lint: .venv/.installed
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

.venv/.installed: pyproject.toml requirements.lock
	@.ci/system-packages python3.11-or-newer c-headers
	@echo "Setting up Python packages in .venv" >&2
	@python3 -m venv .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

node_modules/.installed: package.json package-lock.json
	@.ci/system-packages node-20-or-newer
	@echo "Setting up npm packages in node_modules" >&2
	@npm ci --silent --no-audit --no-fund --ignore-scripts --omit=dev --omit=optional
	@touch $@

# ethers and Anvil, which only tests need: 60 MB
node_modules/.installed-for-tests: package.json package-lock.json
	@.ci/system-packages node-20-or-newer
	@echo "Setting up npm packages in node_modules, with those of the tests" >&2
	@npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch node_modules/.installed $@

$(PLAYER): node_modules/.installed $(PLAYER_SOURCES)
	@npm run --silent build
	@touch $@

clean:
	rm -rf .venv node_modules static/dist .mypy_cache .pytest_cache .ruff_cache
