# make run · make test · make fuzz · make bench · make lint · make docs · make docs-serve ·
# make wheels
# Each sets up what it needs: system packages (apt) and .venv.

# The theme's makers have something to say about mkdocs' next release, at every build.
export NO_MKDOCS_2_WARNING := 1

READY := .venv/.ready
PYTHON := .venv/bin/python

.PHONY: run test fuzz bench lint docs docs-serve wheels clean

run: $(READY)
	$(PYTHON) tools/demo.py

# Most tests wait for other processes, so two CPUs are enough for two at a time. Those of the
# integrations have a Dask cluster in their process, whose files others would count.
test: $(READY) lint
	.venv/bin/pytest -n $(or $(JOBS),2) --dist loadfile tests plugins
	.venv/bin/pytest integrations

# Other inputs every day; what fails is told with the command that repeats it.
fuzz: $(READY)
	$(PYTHON) -m tests.fuzz all --seconds $(or $(SECONDS),60) --seed $$(date +%Y%m%d)

lint: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	for part in plugins/*/src integrations/*/src; do .venv/bin/mypy $$part || exit 1; done

# Everybody beside the engine, in one run: make bench ARGS=--quick
bench: $(READY)
	$(PYTHON) -m benchmarks.compare $(ARGS)

# The site, in site/; what its pages show is run by the tests. docs-serve shows it while you write.
docs: $(READY)
	.venv/bin/mkdocs build --strict
	.venv/bin/pytest -q tests/test_docs.py tests/test_tutorial.py tests/site

docs-serve: $(READY)
	.venv/bin/mkdocs serve

# All distributions, in dist/; built twice, to the same bytes.
wheels: $(READY)
	rm -rf dist
	$(PYTHON) tools/wheels.py --check

clean:
	rm -rf .venv build dist share site .mypy_cache .ruff_cache .pytest_cache

$(READY): tools/setup tools/libqatzip tools/libqpl tools/build_flag.py tools/distribution.py \
		VERSION setup.py pyproject.toml \
		$(wildcard integrations/*/pyproject.toml) \
		$(wildcard plugins/*/pyproject.toml plugins/*/setup.py plugins/*/src/*/*_build.py) \
		$(wildcard plugins/*/src/*/*.[ch]) \
		$(wildcard codecs_core/memory/kernel*)
	tools/setup
	touch $@
