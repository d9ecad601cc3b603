# make run · make test · make fuzz · make bench · make lint · make docs
# Each sets up what it needs: system packages (apt) and .venv.

READY := .venv/.ready
PYTHON := .venv/bin/python

.PHONY: run test fuzz bench lint docs clean

run: $(READY)
	$(PYTHON) tools/demo.py

test: $(READY) lint
	.venv/bin/pytest

# Other inputs every day; what fails is told with the command that repeats it.
fuzz: $(READY)
	$(PYTHON) -m tests.fuzz all --seconds $(or $(SECONDS),60) --seed $$(date +%Y%m%d)

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	for plugin in plugins/*/src; do .venv/bin/mypy $$plugin || exit 1; done

# Everybody beside the engine, in one run: make bench ARGS=--quick
bench: $(READY)
	$(PYTHON) -m benchmarks.compare $(ARGS)

docs: $(READY)
	.venv/bin/pytest -q tests/test_docs.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache

$(READY): tools/setup tools/libqatzip tools/libqpl tools/build_flag.py setup.py pyproject.toml \
		$(wildcard plugins/*/pyproject.toml plugins/*/setup.py plugins/*/src/*/*_build.py) \
		$(wildcard plugins/*/src/*/*.[ch]) \
		$(wildcard codecs_core/memory/kernel*)
	tools/setup
	touch $@
