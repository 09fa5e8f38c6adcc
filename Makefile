# Everything that people and CI run. Needs Python >= 3.11 and the network; `make` alone explains.

PYTHON ?= python3
# Arguments of `make up`, as in: make up ARGS="--nodes 3 --fresh"
ARGS ?=
# Arguments of `make bench`, as in: make bench BENCH=--quick
BENCH ?=
# Arguments of `make chaos`, as in: make chaos CHAOS="--seed 7 --seconds 300" (CHAOS=--help lists all)
CHAOS ?=
# Arguments of `make storm`, as in: make storm STORM="--sockets 1000"
STORM ?=
# Arguments of `make simulate`, as in: make simulate SIMULATE="--seed 7" (SIMULATE=--help lists all)
SIMULATE ?=
# Arguments of pytest, as in: make test-unit PYTEST="-k cursor"
PYTEST ?=
TESTS := unit integration browser faults
# What has to be covered by branch to 95 % and is, by unit tests alone; not where a part of them is run.
COVERED = $(if $(PYTEST),,--cov=chatnode.protocol --cov=chatnode.access --cov=chatnode.session --cov-branch --cov-report= --cov-fail-under=95)

environment = $(PYTHON) deploy/make/environment.py
web = $$venv/bin/python deploy/make/web.py $$venv
export PYTHONPATH := $(CURDIR):$(CURDIR)/operator
export PYTHONDONTWRITEBYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help up web bench bench-long test $(TESTS:%=test-%) conformance chaos chaos-short chaos-long simulate simulate-beside simulate-long storm cluster test-cluster test-cluster-long sbom lint format docs clean chromium

help:
	@echo "make up        the whole cluster on this machine, until Ctrl-C; ARGS=\"--nodes 3 --fresh\" (ARGS=--help lists all)"
	@echo "make test      all tests: $(TESTS:%=test-%) conformance"
	@echo "make test-unit         pure parts, in Python and in the web client; no server runs"
	@echo "make test-integration  against real NATS and MongoDB"
	@echo "make test-browser      two people in real Chromium on a real cluster"
	@echo "make test-faults       chaos-short, and beside it simulate on what that leaves of the machine (as root: all faults)"
	@echo "make conformance       the WebSocket against the Autobahn suite; needs a Python 2.7 (pyenv, or CHAT_PYTHON2)"
	@echo "make test-cluster      the operator on a real Kubernetes, built here (root; 5 min, 10 more the first time)"
	@echo "                       PYTEST=\"-k name -x\" goes to pytest"
	@echo "make test-cluster-long what takes longer there: scaling, draining, ways in, turning to TLS, who leaves"
	@echo "make cluster   that Kubernetes with the chart and a ChatCluster, for a person to look at; ARGS=--help lists options"
	@echo "make sbom      what is in the image, as CycloneDX, in build/"
	@echo "make bench     this project beside Socket.IO, Starlette and a bare server; BENCH=--help lists options; needs Go and npm"
	@echo "make bench-long        how its figures grow with nodes, rooms, sockets and history, and a soak"
	@echo "make chaos     three nats-servers, three mongods, nodes and workers broken on purpose; CHAOS=\"--seed 7 --seconds 300\""
	@echo "make storm     8,000 sockets lose their node at once, then all nodes; STORM=\"--sockets 1000\""
	@echo "make simulate  100,000 histories of a whole cluster in one process on virtual time; SIMULATE=\"--seed 7\" tells one"
	@echo "make simulate-long     ten million, added up in docs/simulation-ledger.json; SIMULATE=\"--seconds 3600\" ends it sooner"
	@echo "make lint      ruff, mypy, import layers, web lint and types"
	@echo "make format    format and sort as lint wants it"
	@echo "make docs      write the pages in docs/ that are generated from the code"
	@echo "make web       build the web client into chatnode/static"
	@echo "make clean     remove what was built in this checkout (not .chatcluster, where data live)"
	@echo
	@echo "Packages are kept in $${XDG_CACHE_HOME:-~/.cache}/chatcluster, outside the checkout."

up:
	@venv=$$($(environment) local) && $(web) build && exec $$venv/bin/python -m chatnode.cli up $(ARGS)

web:
	@venv=$$($(environment) local) && $(web) build

test:
	@failed=; \
	for part in $(TESTS:%=test-%) conformance; do \
	  echo "== make $$part"; \
	  $(MAKE) --no-print-directory $$part || failed="$$failed $$part"; \
	done; \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed" >&2; exit 1; fi; \
	echo "make test: all of $(TESTS:%=test-%) conformance passed"

test-unit:
	@venv=$$($(environment) dev) && $$venv/bin/python -m pytest tests/unit -n 2 $(COVERED) $(PYTEST) && $(web) test

test-integration:
	@venv=$$($(environment) dev) && $$venv/bin/python -m pytest tests/integration -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST)

test-browser: chromium
	@venv=$$($(environment) dev) && $(web) build && $$venv/bin/python -m pytest tests/browser $(PYTEST)

# The simulation asks for nothing but time, so it takes what the other leaves.
test-faults:
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=line CHAOS="--tell-times $(if $(CI),--all-faults)" chaos-short simulate-beside

simulate-beside:
	@venv=$$($(environment) dev) && nice -n 19 $$venv/bin/python -m tests.simulation --first 0 $(SIMULATE)

conformance:
	@venv=$$($(environment) dev) && $$venv/bin/python -m pytest tests/conformance $(PYTEST)

bench:
	@venv=$$($(environment) dev) && PYTHONPATH=$(CURDIR):$(CURDIR)/deploy/make $$venv/bin/python -m benchmarks $(BENCH)

bench-long:
	@venv=$$($(environment) dev) && PYTHONPATH=$(CURDIR):$(CURDIR)/deploy/make $$venv/bin/python -m benchmarks.growth $(BENCH)

# What asks an API server alone runs beside the start of the whole cluster; on somebody's cluster there is but one.
test-cluster: beside = $(if $(CHAT_TEST_KUBECONFIG),,-n 2 --dist loadfile)
test-cluster:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && $$venv/bin/python -m pytest tests/cluster -m "not long" $(beside) $(PYTEST)

test-cluster-long:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && $$venv/bin/python -m pytest tests/cluster -m long $(PYTEST)

storm:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && $$venv/bin/python -m tests.storm $(STORM)

cluster: web
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && exec $$venv/bin/python -m tests.cluster $(ARGS)

sbom:
	@tool=$$($(environment) sbom) && image=$$($(environment) operator) && mkdir -p build && \
	$$tool/bin/python -m cyclonedx_py environment --output-reproducible --mc-type application --pyproject pyproject.toml \
	  --output-format JSON --output-file build/sbom.python.cdx.json $$image/bin/python && \
	venv=$$($(environment) local) && $(web) sbom && ls build/sbom.*

chaos:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && $$venv/bin/python -m tests.chaos $(CHAOS)

chaos-short:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && $$venv/bin/python -m tests.chaos --seed 7 --seconds 200 $(CHAOS)

chaos-long:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && $$venv/bin/python -m tests.chaos.long $(CHAOS)

simulate:
	@venv=$$($(environment) dev) && $$venv/bin/python -m tests.simulation $(SIMULATE)

simulate-long:
	@venv=$$($(environment) dev) && $$venv/bin/python -m tests.simulation --histories 10000000 --ledger $(SIMULATE)

chromium:
	@if [ -x /usr/bin/chromium ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "make: installing chromium" >&2; \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null && exit 0; \
	fi; \
	echo "make: the browser tests need /usr/bin/chromium: apt-get install chromium (as root)" >&2; exit 1

lint:
	@venv=$$($(environment) dev) && PATH=$$venv/bin:$$PATH && failed=; \
	check() { echo "== $$*"; "$$@" || failed="$$failed '$$*'"; }; \
	check ruff check; check ruff format --check; check mypy; check lint-imports; \
	check $(web) lint; check $(web) check; \
	if [ -n "$$failed" ]; then echo "make lint: failed:$$failed" >&2; exit 1; fi

format:
	@venv=$$($(environment) dev) && $$venv/bin/ruff check --fix-only -q; $$venv/bin/ruff format

docs:
	@venv=$$($(environment) dev) && $$venv/bin/python -m chatnode.reference && $$venv/bin/python -m chatoperator.reference && $$venv/bin/python -m chatnode.contract && $$venv/bin/python -m tests.chaos.ledger

clean:
	@rm -rf build chatnode/static chatnode/static.new chatnode/static.old .coverage .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	@if [ -L web/node_modules ]; then rm web/node_modules; fi
	@find . -name __pycache__ -type d -not -path './web/*' -prune -exec rm -rf {} +
