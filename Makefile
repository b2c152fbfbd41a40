# SPDX-License-Identifier: GPL-2.0-or-later
# Each target does its own set-up: Debian packages through apt (which asks for root), Python tools in .venv, the lab
# and the package in build/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:

BIN := .venv/bin
STEP := tests/tools/step
ON_FILES := tests/tools/on-files
LAB := env PYTHONPATH=tests $(BIN)/python -m lab
# A command in the lab's Debian 13 build root, where the repository is /src.
ROOT := $(LAB) root --
VERSION := $(shell sed -nE 's/^__version__ = "(.*)"/\1/p' schedcpd/__init__.py)
# The lab finds the second beside the first.
DEB := build/deb/schedcp_$(VERSION)_amd64.deb
AGENT_DEB := build/deb/schedcp-agent_$(VERSION)_amd64.deb
SHIPPED := COPYING client dbus-policy debian etc probes pyproject.toml schedcpd schedulers systemd tests/tools/deb trial

help: ## show these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# ── everything

# One after the other, but for the two that use one CPU each: the virtual machine needs both.
check: lint tests check-corpus check-deb check-vm ## all that a change must pass

tests: venv root build/wheels/unpacked
	@$(MAKE) --jobs=2 test test-debian

check-fast: lint-python test-unit ## the quick part of it: Python lint and unit tests

# ── set-up

venv: .venv/complete ## Python tools in .venv

.venv/complete: pyproject.toml tests/tools/packages
	@$(STEP) "Debian packages" tests/tools/packages
	@[ -x $(BIN)/python ] || $(STEP) -q "virtual environment" /usr/bin/python3 -m venv .venv
	@$(STEP) -q "pip" $(BIN)/pip --disable-pip-version-check install pip==26.3
	@$(STEP) -q "Python packages" $(BIN)/pip install --group dev
	@touch $@

root: venv ## the lab's build root
	@$(STEP) "build root" $(ROOT) true

lab: root deb ## the virtual machine with the package in it
	@$(STEP) "lab" $(LAB) build --deb $(DEB)

# ── lint

lint: lint-python lint-c lint-files lint-units ## all linters

lint-python: venv
	@$(STEP) -q "ruff format" $(BIN)/ruff format --check
	@$(STEP) -q "ruff" $(BIN)/ruff check
	@$(STEP) -q "mypy" $(BIN)/mypy
	@$(STEP) -q "import-linter" env PYTHONPATH=client $(BIN)/lint-imports --no-logo --no-cache

lint-c: root
	@$(STEP) -q "clang-format" $(ON_FILES) '*.[ch]' -- \
		$(ROOT) clang-format --style=file:schedulers/.clang-format --dry-run -Werror

lint-files: root
	@$(STEP) -q "licence lines" $(ON_FILES) '*.py' '*.[ch]' '*.toml' '*.sh' '*.1' '*.xml' '*.policy' '*.conf' \
		'*.rules' '*.service' '*.socket' '*.timer' '*Makefile' debian/rules debian/unpack-wheels 'client/bin/*' 'tests/tools/*' \
		'.ci/*' ':!etc' -- tests/tools/spdx
	@$(STEP) -q "shellcheck" $(ON_FILES) --scripts . -- $(ROOT) shellcheck
	@$(STEP) -q "shellcheck of the completion" $(ON_FILES) 'client/completion/*' -- $(ROOT) shellcheck --shell=bash
	@$(STEP) -q "codespell" $(ON_FILES) . ':!COPYING' -- $(ROOT) codespell
	@$(STEP) -q "xmllint" $(ON_FILES) '*.xml' '*.policy' 'dbus-policy/*.conf' -- $(ROOT) xmllint --noout --nonet
	@$(STEP) -q "polkit actions" $(ON_FILES) '*.policy' -- \
		$(ROOT) xmllint --noout --nonet --dtdvalid /usr/share/polkit-1/policyconfig-1.dtd
	@$(STEP) -q "man page" $(ON_FILES) 'client/man/*' -- $(ROOT) mandoc -T lint -W warning

lint-units: root
	@$(STEP) -q "systemd-analyze verify" $(ON_FILES) '*.service' '*.socket' '*.timer' ':!dbus-policy' -- \
		$(ROOT) env SYSTEMD_UNIT_PATH=/src/systemd: systemd-analyze verify --man=no --recursive-errors=one
	@$(STEP) -q "exposure of schedcpd" $(ROOT) \
		systemd-analyze security --no-pager --offline=yes --threshold=20 systemd/schedcpd.service
	@$(STEP) -q "exposure of schedcp-verify" $(ROOT) \
		systemd-analyze security --no-pager --offline=yes --threshold=2 systemd/schedcp-verify.service
	@$(STEP) -q "exposure of schedcp-agent" $(ROOT) \
		systemd-analyze security --no-pager --offline=yes --threshold=12 systemd/schedcp-agent.service
	@$(STEP) -q "exposure of schedcp-verify@" $(ROOT) \
		systemd-analyze security --no-pager --offline=yes --threshold=13 systemd/schedcp-verify@.service
	@$(STEP) -q "exposure of schedcp-read@" $(ROOT) \
		systemd-analyze security --no-pager --offline=yes --threshold=15 systemd/schedcp-read@.service
	@$(STEP) -q "exposure of schedcp-foreign@" $(ROOT) \
		systemd-analyze security --no-pager --offline=yes --threshold=20 systemd/schedcp-foreign@.service

# ── tests

test: venv ## unit and integration tests on this machine's Python
	@$(STEP) "tests, Python of this machine" $(BIN)/pytest --quiet --cov --cov-config=pyproject.toml --cov-report=term

test-unit: venv
	@$(STEP) "unit tests" $(BIN)/pytest --quiet tests/unit

# Without those of the lab, which runs on the host only and wants its tools.
test-debian: root build/wheels/unpacked ## the same on Debian 13's Python, in the build root
	@$(STEP) "tests, Python of Debian 13" $(ROOT) \
		env PYTHONPATH=/src/build/wheels/unpacked PYTHONDONTWRITEBYTECODE=1 \
		HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
		python3 -m pytest --quiet -p no:cacheprovider --ignore=tests/unit/lab

build/trial/schedcp-trial: $(wildcard trial/*) | root
	@$(STEP) -q "trial run" $(ROOT) make -C trial OUT=/src/build/trial

# The kernel that the corpus is judged for.
build/lab/kernels/7.3: | root
	@$(STEP) -q "kernel" $(LAB) kernels 7.3

CORPUS = $(ROOT) env PYTHONPATH=tests:. PYTHONDONTWRITEBYTECODE=1 python3 -m corpus

check-corpus: root build/trial/schedcp-trial build/lab/kernels/7.3 ## broken and sound policies, as far as the static analysis goes
	@$(STEP) "corpus, static" $(CORPUS) --static-only --jobs 2 --out build/check-corpus.json

verify-corpus: root build/trial/schedcp-trial build/lab/kernels/7.3 ## the same through to the micro-VM
	@$(STEP) "corpus" $(CORPUS)

# A test under which the emulator broke ("Oops: int3") says nothing about what it tests: it is run again,
# and the summary counts it.
VM_TESTS = env SCHEDCP_DEB=$(CURDIR)/$(DEB) $(BIN)/pytest tests/vm --reruns 1 --only-rerun '^lab\.errors\.InfraFailure'

check-vm: lab ## the installed package in the virtual machine
	@$(STEP) "tests in the virtual machine" $(VM_TESTS) -m "not long"

check-long: lab ## those tests in the virtual machine that take minutes each
	@$(STEP) "long tests in the virtual machine" $(VM_TESTS) -m long

check-crash: lab ## kill -9 a hundred times
	@$(STEP) "a hundred kills" env SCHEDCP_DEB=$(CURDIR)/$(DEB) SCHEDCP_CRASHES=100 \
		$(BIN)/pytest tests/vm/test_crash.py

check-kernels: deb ## the policies on every kernel of the lab
	@$(STEP) "policies on every kernel" env PYTHONPATH=tests $(BIN)/python -m vm.matrix --deb $(DEB)

# ── package

deb: $(DEB) ## build/deb/schedcp_VERSION_amd64.deb and schedcp-agent_VERSION_amd64.deb

$(DEB) $(AGENT_DEB) &: build/shipped build/wheels/complete | root
	@$(STEP) -q "packages" tests/tools/deb build/deb

wheels: build/wheels/complete ## the Python packages that schedcp-agent brings along

# For Debian 13's Python, whatever this machine's is.
build/wheels/complete: debian/requirements.txt | venv
	@rm -rf build/wheels
	@$(STEP) -q "wheels" $(BIN)/pip --disable-pip-version-check download --requirement debian/requirements.txt \
		--require-hashes --no-deps --only-binary=:all: --implementation=cp --python-version=3.13 --abi=cp313 \
		--platform=manylinux_2_17_x86_64 --dest=build/wheels
	@touch $@

build/wheels/unpacked: build/wheels/complete debian/unpack-wheels
	@debian/unpack-wheels build/wheels $@
	@touch $@

# The names and contents of what the package is made from: looked at each time, but newer only when they differ.
build/shipped: FORCE
	@mkdir -p build
	@$(ON_FILES) $(SHIPPED) -- sha256sum >$@.new
	@if cmp --silent $@.new $@; then rm $@.new; else mv $@.new $@; fi

check-deb: deb ## lintian, what is in the packages, and a second build that must come out the same
	@$(STEP) -q "lintian" $(ROOT) lintian --info --allow-root --fail-on error,warning $(DEB) $(AGENT_DEB)
	@$(STEP) -q "contents" env SCHEDCP_DEB=$(CURDIR)/$(DEB) $(BIN)/pytest --quiet tests/deb
	@$(STEP) -q "second build" tests/tools/deb build/deb-again
	@$(STEP) -q "reproducible" cmp $(DEB) build/deb-again/$(notdir $(DEB))
	@$(STEP) -q "reproducible, agent" cmp $(AGENT_DEB) build/deb-again/$(notdir $(AGENT_DEB))

# ── in the virtual machine

demo: lab ## a batch under the kernel default and under schedcp, in turns
	@$(STEP) "demo" env PYTHONPATH=tests $(BIN)/python -m bench.demo --deb $(DEB)

# ONLY="NAME…" measures these parts only, with * as in a shell; QUICK=1 in fewer rounds. What there is:
# PYTHONPATH=tests .venv/bin/python -m bench --list
bench: lab build/probes/runqueue.bpf.o ## schedcp against the kernel default, part by part; build/bench/report.html
	@$(STEP) "bench" env PYTHONPATH=tests $(BIN)/python -m bench --deb $(DEB) \
		$(if $(ONLY),--only '$(ONLY)') $(if $(QUICK),--quick)

build/probes/runqueue.bpf.o: $(wildcard probes/*) schedulers/include/bpf.flags | root
	@$(STEP) -q "probes" $(ROOT) make -C probes OUT=/src/build/probes

clean: ## remove what was built, but not what was downloaded
	rm -rf build/deb build/deb-again build/shipped build/wheels/unpacked build/coverage .mypy_cache .pytest_cache .ruff_cache

FORCE:
.PHONY: help check check-fast tests venv root lab lint lint-python lint-c lint-files lint-units test test-unit test-debian \
	check-corpus verify-corpus check-vm check-long check-crash check-kernels deb wheels check-deb demo bench clean FORCE
