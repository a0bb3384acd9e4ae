# Everything a person or CI does with a checkout. `make` alone lists the targets.
VENV ?= $(CURDIR)/.venv
WORKERS ?= auto
TESTS ?=
BENCH ?=
PYTEST = $(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist worksteal
export VENV

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ready ## two containers on docker0: up, shown, curled, taken down
	@.ci/demo

.PHONY: test
test: ready docker daemons ## lint, unit and kernel tests (TESTS=path: some of them)
	@$(PYTEST) $(TESTS)

.PHONY: test-unit
test-unit: venv ## everything that needs no kernel, lint included
	@$(PYTEST) --ignore tests/kernel --ignore tests/parity

.PHONY: test-kernel
test-kernel: ready docker daemons ## real networks in private namespaces
	@$(PYTEST) tests/kernel

.PHONY: test-parity
test-parity: ready docker ## Compose files by Docker and by labctl: all that can be seen is compared
	@$(PYTEST) tests/parity

.PHONY: parity
parity: ready docker ## docs/parity.md, written again
	@PYTHONPATH=tests:. $(VENV)/bin/python -m parity.report

.PHONY: test-injections
test-injections: ready ## harm at every step of up and down, in every way
	@LABCTL_INJECTIONS=all LABCTL_CYCLES=200 LABCTL_EXAMPLES=200 $(PYTEST) \
		tests/kernel/test_injections.py tests/kernel/test_cycles.py tests/kernel/test_laws.py $(TESTS)

.PHONY: test-rootless
test-rootless: ready ## the kernel tests as an ordinary user
	@.ci/test-rootless $(VENV) $(TESTS)

.PHONY: test-vm
test-vm: vm-ready ## kernel tests on Debian's stock kernel, in a virtual machine (TESTS=path)
	@.ci/test-vm $(TESTS)

.PHONY: docker
docker: ready ## Debian's Docker engine, unpacked into .cache: tests run beside it
	@.ci/setup docker

.PHONY: daemons
daemons: ## nginx, redis and dnsmasq, installed but not started: tests run them in nodes
	@.ci/setup daemons

.PHONY: bench
bench: ready ## labctl beside a floor in C, `ip`, Mininet, munet, Podman and Docker (BENCH='--quick --setup': options)
	@$(VENV)/bin/python -m benchmarks $(BENCH)

.PHONY: lint
lint: venv ## ruff and mypy
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

.PHONY: format
format: venv ## the code as ruff formats it
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

.PHONY: vm
vm: ## a Debian 12 machine with labctl, by Vagrant; then: vagrant ssh
	vagrant up

.PHONY: lock
lock: venv ## the newest versions that pyproject.toml allows, into .ci/requirements.txt
	@$(VENV)/bin/pip -qq install uv
	@$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --extra test --universal --python-version 3.11 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" --output-file .ci/requirements.txt

.PHONY: clean
clean: ## remove what was made here
	rm -rf .venv .cache .hypothesis build dist
	find labctl tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

.PHONY: venv ready vm-ready
venv:
	@.ci/setup venv
ready:
	@.ci/setup venv packages
vm-ready:
	@.ci/setup venv vm
