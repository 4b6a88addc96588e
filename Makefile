# Everything a developer runs. `make` alone lists it.

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
PYTHON := .venv/bin/python
MANAGE := $(PYTHON) manage.py
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install run split test test-rest lint format proto audit chaos bench clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed ## Install the locked dependencies into .venv (the others do it when needed)

run: install ## Migrate, seed a demo shop and serve it (PORT and BIND say where)
	@echo "Migrating: $$($(MANAGE) migrate_all)"
	@$(MANAGE) seed_demo
	@at=http://localhost:$${PORT:-8080}; echo "Shop $$at/   API $$at/api/docs/   Staff $$at/admin/"
	@trap : INT TERM; $(MANAGE) serve; status=$$?; [ $$status -eq 130 ] || [ $$status -eq 143 ] || exit $$status

split: install ## The same shop as separate services behind Envoy, on this machine (needs Redis or RabbitMQ)
	@trap : INT TERM; $(PYTHON) -m deploy.split; status=$$?; [ $$status -eq 130 ] || [ $$status -eq 143 ] || exit $$status

test: install ## Run the tests of one process, and walk through a shop (ARGS="-k stock" goes to pytest)
	@$(PYTHON) -m tests.run $(ARGS)

test-rest: install ## Run all others: whole shops, and other databases (takes half an hour)
	@$(PYTHON) -m tests.run --rest $(ARGS)

lint: install $(UV) ## Check style, types, boundaries, migrations, settings and the lock file
	@$(PYTHON) -m tests.lint $(UV)

format: install ## Format the code, and fix what can be fixed by itself
	@ruff format --quiet
	@ruff check --fix --quiet

proto: install ## Generate grpc_api/gen from grpc_api/protos
	@$(PYTHON) -m grpc_api.generate

audit: install ## Prove on the data of this shop that stock, orders, payments and events agree
	@$(MANAGE) audit

chaos: install ## Kill what the shop stands on while customers buy, and compare the books (ARGS="--kills 20"; docs/chaos.md)
	@$(PYTHON) -m tests.chaos $(ARGS)

bench: install ## Measure what everything costs, as ratios, and write the report (ARGS="--on orders"; docs/benchmarks.md)
	@$(PYTHON) -m bench $(ARGS)

clean: ## Remove caches; the shop's data in var/ stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@find apps bench config tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml uv.lock | $(UV)
	@echo "Installing into .venv"
	@$(UV) sync --frozen --quiet
	@touch $@

.uv/bin/uv:
	@python3 -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Cartwright needs Python 3.11 or newer.")'
	@echo "Installing uv into .uv"
	@python3 -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv
