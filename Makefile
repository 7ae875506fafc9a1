# Everything a checkout can do. On a fresh machine with Python 3.11 or newer and
# make, `make demo` and `make test` need nothing before them.
#
# What is installed lives in .venv inside this checkout and nowhere else. Only a
# change of a lock file, or of the sources, installs anything again; without one
# no target touches the network.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN := $(VENV)/bin
# Each package of the lock files has a wheel for CPython 3.11 to 3.13 on Linux,
# x86_64 and aarch64; so no package is compiled and no set-up script of one runs.
# The files are complete: what they do not list, such as a newer release that an extra
# would allow, is not to be looked for (pip 23 does, and then misses its hash).
LOCKED := $(BIN)/python -m pip install --quiet --no-deps --require-hashes --only-binary :all:

# A directory's own time changes when a file in it is deleted.
SOURCES := $(shell find passproxy -name __pycache__ -prune -o -print) pyproject.toml

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

# Tests import the installed package: neither `python -m` nor pytest may put the
# tree before it. The tests themselves are found through checkout.pth, which
# Python reads after the installed packages.
PYTEST := PYTHONSAFEPATH=1 $(BIN)/pytest --override-ini pythonpath=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Each target with a word of help is a command, and no file.
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*[#][#] .*/\1/p' Makefile)

help: ## this list
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1: \2/p' Makefile
	@echo
	@echo 'PYTHON=python3.12 chooses another Python (with VENV=.venv-3.12 beside the first).'

demo: $(VENV)/project.stamp ## the demo: a provider, an application and PassProxy; ARGS="--protocol saml --port 8200"
	@$(BIN)/passproxy demo $(ARGS)

test: $(VENV)/dev.stamp $(VENV)/project.stamp ## all tests that need neither root, nor a browser, nor other servers; ARGS go to pytest
	@$(PYTEST) --quiet --numprocesses auto --dist loadfile --ignore tests/e2e --ignore tests/interop $(ARGS)

check: $(VENV)/dev.stamp ## the linter, the formatter's opinion, the types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(VENV)/runtime.stamp ## what is generated: docs/configuration.md, the JSON Schema, the codes in docs/troubleshooting.md
	@PYTHONPATH="$(CURDIR)" $(BIN)/python -m docs.reference
	@PYTHONPATH="$(CURDIR)" $(BIN)/python -m docs.errors

e2e: $(VENV)/dev.stamp $(VENV)/project.stamp ## a real browser through a real nginx; Apache, Caddy, HAProxy and a PHP application too
	$(call apt,nginx,nginx)
	$(call apt,apache2,apache2)
	$(call apt,caddy,caddy)
	$(call apt,haproxy,haproxy)
	$(call apt,redis-server,redis-server)
	$(call apt,php,php-cli)
	$(call apt,chromium,chromium)
	@$(PYTEST) --quiet tests/e2e $(ARGS)

e2e-container: $(VENV)/dev.stamp $(VENV)/project.stamp ## the image, built and used read-only without root; needs root itself, in about two minutes
	$(call apt,nginx,nginx)
	$(call apt,debootstrap,debootstrap)
	$(call apt,buildah,buildah)
	$(call apt,crun,crun)
	@PYTHONSAFEPATH=1 $(BIN)/python -m tests.container

e2e-deb: ## the Debian package from its repository to its purge, on a Debian 13 booted for it; as root; ARGS="--without-suite"
	$(debian_tools)
	$(call apt,apt-ftparchive,apt-utils)
	$(call apt,gpg,gnupg)
	@$(PYTHON) -B -m tests.deb $(ARGS)

deb: ## the Debian package, in dist/deb, built and examined in a root of Debian 13; as root
	$(debian_tools)
	@debian/tools/build

apt-repo: ## a signed APT repository of the package, in dist/apt; KEY=FILE signs with yours, URL=... is where it will be
	@test -e dist/deb || $(MAKE) --no-print-directory deb
	$(call apt,apt-ftparchive,apt-utils)
	$(call apt,gpg,gnupg)
	@KEY='$(KEY)' URL='$(URL)' debian/tools/repository

interop: $(VENV)/dev.stamp $(VENV)/project.stamp ## whole logins at identity providers that others wrote: Keycloak, oidc-provider
	$(call apt,java,default-jdk-headless)
	$(call apt,mvn,maven)
	$(call apt,node,nodejs)
	$(call apt,npm,npm)
	@PYTHONSAFEPATH=1 $(BIN)/python -m tests.interop $(ARGS)

frameworks: $(VENV)/dev.stamp $(VENV)/project.stamp ## passproxy.trusted in FastAPI, Flask, Django, Quart and aiohttp, and its like in Express
	$(call apt,node,nodejs)
	$(call apt,npm,npm)
	@PYTHONSAFEPATH=1 $(BIN)/python -m tests.interop.frameworks

bench-quick: $(VENV)/dev.stamp $(VENV)/project.stamp ## throughput beside nginx, in about a minute
	$(call apt,nginx,nginx)
	$(call apt,wrk,wrk)
	@PYTHONSAFEPATH=1 $(BIN)/python -m benchmarks.quick $(ARGS)

bench: $(VENV)/dev.stamp $(VENV)/project.stamp ## PassProxy beside its peers, in about five minutes; writes benchmarks/RESULTS.md
	$(call apt,nginx,nginx)
	$(call apt,wrk,wrk)
	$(call apt,apache2,apache2)
	$(call apt_file,/usr/lib/apache2/modules/mod_auth_openidc.so,libapache2-mod-auth-openidc)
	$(call apt_file,/usr/lib/apache2/modules/mod_auth_mellon.so,libapache2-mod-auth-mellon)
	@PYTHONSAFEPATH=1 $(BIN)/python -m benchmarks.full $(ARGS)

parts: $(VENV)/dev.stamp $(VENV)/project.stamp ## where the microseconds of a request and the megabytes of a start go
	@PYTHONSAFEPATH=1 $(BIN)/python -m benchmarks.parts

# From the tree, not from the installed package. What the tests start is counted as well: see tests/measured.
coverage: $(VENV)/dev.stamp $(VENV)/project.stamp ## lines and branches of the core and the adapters that the tests reach; ARGS go to pytest
	@rm -f .coverage .coverage.*
	@PYTHONPATH="$(CURDIR):$(CURDIR)/tests/measured" $(PYTEST) --quiet --numprocesses auto --dist loadfile \
		--ignore tests/e2e --ignore tests/interop $(ARGS); outcome=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$outcome

hostile: $(VENV)/dev.stamp $(VENV)/project.stamp ## what hostile XML costs: each document answered in 100 ms, memory, the waits of others
	@PYTHONSAFEPATH=1 $(BIN)/python -W ignore::DeprecationWarning -m benchmarks.hostile_xml $(ARGS)

soak: $(VENV)/dev.stamp $(VENV)/project.stamp ## ten minutes of mixed traffic and failures; ARGS="--minutes 1" for a short one
	@PYTHONSAFEPATH=1 $(BIN)/python -W ignore::DeprecationWarning -m benchmarks.soak $(ARGS)

UV := $(BIN)/uv --quiet pip compile --no-config --universal --python-version 3.11 --generate-hashes \
	--upgrade --custom-compile-command 'make lock'

lock: $(VENV)/created.stamp ## the lock files anew, with the newest versions
	@$(BIN)/python -m pip install --quiet uv
	@$(UV) pyproject.toml --all-extras --group build --output-file requirements.lock
	@$(UV) pyproject.toml --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(UV) tests/interop/frameworks/requirements.in --output-file tests/interop/frameworks/requirements.lock

clean: ## remove what was installed, built or cached
	@rm -rf $(VENV) build dist passproxy.egg-info .interop .e2e .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	@find . -name __pycache__ -prune -exec rm -rf {} +

# --- what the targets above stand on ---

$(VENV)/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo 'PassProxy needs Python 3.11 or newer; name one: make PYTHON=python3.12' >&2; exit 1; }
	@# Debian has ensurepip in a package of its own, named after the exact version.
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package ..."; \
			$(APT) install $$package >/dev/null || { $(APT) update >/dev/null && $(APT) install $$package >/dev/null; }; \
		else \
			echo "This Python cannot make virtual environments; as root: apt-get install $$package" >&2; exit 1; \
		fi; }
	@echo 'Creating $(VENV) ...'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import os, sysconfig; site = sysconfig.get_path("purelib"); \
		open(site + "/checkout.pth", "w").write(os.path.relpath(".", site) + "\n")'
	@touch $@

$(VENV)/runtime.stamp: requirements.lock $(VENV)/created.stamp
	@echo 'Installing what PassProxy runs on (once, about half a minute) ...'
	@$(LOCKED) --requirement requirements.lock
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo 'Installing what its tests need (once, about a minute) ...'
	@$(LOCKED) --requirement requirements-dev.lock
	@touch $@

# build/ may hold modules that have been deleted since, and would be installed again.
$(VENV)/project.stamp: $(SOURCES) $(VENV)/runtime.stamp
	@echo 'Installing PassProxy ...'
	@rm -rf build
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index --force-reinstall .
	@rm -rf build
	@touch $@

APT := DEBIAN_FRONTEND=noninteractive apt-get --quiet --quiet --yes --no-install-recommends

# $(call apt,COMMAND,PACKAGE): the package, unless the command is there.
define apt
	@PATH="$$PATH:/usr/sbin"; command -v $(1) >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo 'Installing $(2) ...'; \
			$(APT) install $(2) >/dev/null || { $(APT) update >/dev/null && $(APT) install $(2) >/dev/null; }; \
		else \
			echo 'This needs $(1); as root: apt-get install $(2)' >&2; exit 1; \
		fi; }
endef

# What makes and enters a root of Debian 13, on any machine that has debootstrap.
define debian_tools
	$(call apt,debootstrap,debootstrap)
	$(call apt,systemd-nspawn,systemd-container)
	$(call apt,git,git)
endef

# Likewise for a package that brings a file and no command.
define apt_file
	@test -e $(1) || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo 'Installing $(2) ...'; \
			$(APT) install $(2) >/dev/null || { $(APT) update >/dev/null && $(APT) install $(2) >/dev/null; }; \
		else \
			echo 'This needs $(1); as root: apt-get install $(2)' >&2; exit 1; \
		fi; }
endef
