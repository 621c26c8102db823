# SPDX-License-Identifier: BSD-3-Clause
#
# GNU make, a C11 compiler and libc: nothing else is needed for `make`, and no network. `make help` lists the targets.
#
# V=1              show the commands
# O=build/x        build there instead
# SAN=address      or undefined, thread: with that sanitizer (in build/SAN unless O says otherwise)
# FAULTS=1         with the fault points of src/base/fault.h (in build/faults)
# CC=clang-14      another compiler; DEBUG=1: -O0; WERROR=1: warnings are errors (so it is in CI)
# T=60             `fuzz`: seconds for each target; FUZZ_T=180 `check`: seconds that all targets share
# K=word           tests: only those whose name has the word; J=2: how many run side by side
# ONLY=word        bench, bench-dask: only cells whose name has the word; REPEATS=5: rounds

SAN    ?=
FAULTS ?=
O      ?= build$(if $(SAN),/$(SAN))$(if $(FAULTS),/faults)
T      ?= 60
FUZZ_T ?= 180
J      ?= 2
K      ?=
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man

ifeq ($(origin CC),default)
CC := gcc
endif
AR      := $(if $(CROSS),$(CROSS)-ar,ar)
Q       := $(if $(V),,@)
SHELL   := /bin/sh
WERROR  ?= $(filter true 1,$(CI))
VERSION := $(shell awk '/define WEFT_VERSION_(MAJOR|MINOR|PATCH)/ { v = v s $$3; s = "." } END { print v }' \
	include/weft/weft.h)
$(if $(VERSION),,$(error the version cannot be read from include/weft/weft.h: does awk work here?))
SOMAJOR := $(firstword $(subst ., ,$(VERSION)))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# ---- flags ------------------------------------------------------------------------------------------------------

SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -DWEFT_SANITIZED)
SANFLAGS += $(if $(filter undefined,$(SAN)),-fno-sanitize-recover=undefined)
CPPFLAGS_ := -D_GNU_SOURCE $(if $(FAULTS),-DWF_FAULTS) -Iinclude $(CPPFLAGS)
# Of gcc's: texts are cut on purpose, and tsan sees no fences (atomics beside them it does see).
GCC_ONLY := $(if $(findstring clang,$(CC)),,-Wno-format-truncation $(if $(filter thread,$(SAN)),-Wno-tsan))
OPT      := $(if $(DEBUG),-O0,-O2)
CFLAGS_  := -std=gnu11 $(OPT) -g -Wall -Wextra -Wvla $(GCC_ONLY) $(if $(WERROR),-Werror) -pthread -fPIC $(SANFLAGS) $(CFLAGS)
LIBFLAGS := -Isrc -fvisibility=hidden -Wmissing-prototypes -Wstrict-prototypes
LDFLAGS_ := $(SANFLAGS) -pthread -Wl,-z,relro,-z,now $(LDFLAGS)
LDLIBS_  := -ldl

# Objects are made anew when the compiler or a flag changes.
FLAGS := $(CC) $(CPPFLAGS_) $(CFLAGS_) $(LDFLAGS_)
$(shell mkdir -p $(O); echo '$(FLAGS)' | cmp -s - $(O)/.flags || echo '$(FLAGS)' >$(O)/.flags)

# ---- what there is ----------------------------------------------------------------------------------------------

LIB_SRC  := $(sort $(wildcard $(addprefix src/,base/*.c os/*.c wire/*.c gpu/*.c core/*.c) src/transports/*/*.c))
PERF_SRC := $(sort $(wildcard perftest/*.c))
EXAMPLES := $(patsubst docs/examples/%.c,$(O)/examples/%,$(wildcard docs/examples/*.c))
UNIT     := $(patsubst tests/unit/%.c,$(O)/tests/unit/%,$(wildcard tests/unit/test_*.c))
TESTLIB  := $(sort $(wildcard tests/lib/*.c))
has_main  = $(if $(1),$(shell grep -lw 'int main' $(1) /dev/null))
CONF_SRC := $(sort $(wildcard tests/conform/*.c))
CONF_TOP := $(call has_main,$(CONF_SRC))
CONFORM  := $(patsubst tests/conform/%.c,$(O)/tests/conform/%,$(CONF_TOP))
TORT_SRC := $(sort $(wildcard tests/torture/*.c))
TORTURE  := $(patsubst tests/torture/%.c,$(O)/tests/torture/%,$(TORT_SRC))
FUZZ     := $(patsubst tests/fuzz/%.c,$(O)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
PY_SRC   := $(sort $(wildcard src/py/*.c))
FAKE_IBV := $(if $(wildcard tests/fake/ibverbs/*.c),$(O)/fake/libibverbs.so.1)

obj = $(patsubst %.c,$(O)/obj/%.o,$(1))

SO    := libweft.so.$(VERSION)
STATIC := $(O)/libweft.a
PERF  := $(if $(PERF_SRC),$(O)/weft)

# ---- the library ------------------------------------------------------------------------------------------------

.PHONY: all lib py help
all: lib $(PERF) $(EXAMPLES) py ## library, command line tool, examples, Python extension (the default)

lib: $(O)/libweft.so $(STATIC) ## libweft.so and libweft.a only

$(O)/obj/src/py/%.o: src/py/%.c $(O)/.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC      $<')
	$(Q)$(CC) $(CPPFLAGS_) $(CFLAGS_) -fvisibility=hidden $(PY_INC) -MMD -MP -c -o $@ $<

$(O)/obj/src/%.o: src/%.c $(O)/.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC      $<')
	$(Q)$(CC) $(CPPFLAGS_) $(CFLAGS_) $(LIBFLAGS) -MMD -MP -c -o $@ $<

# Tests of private parts see src/; those of the API are held to weft.h by the walls.
$(O)/obj/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC      $<')
	$(Q)$(CC) $(CPPFLAGS_) $(CFLAGS_) $(if $(filter tests/%,$<),-Isrc -Itests) -MMD -MP -c -o $@ $<

$(STATIC): $(call obj,$(LIB_SRC))
	$(if $(V),,@echo '  AR      $@')
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/$(SO): $(call obj,$(LIB_SRC)) src/libweft.map
	$(if $(V),,@echo '  LINK    $@')
	$(Q)$(CC) -shared -Wl,-soname,libweft.so.$(SOMAJOR) -Wl,--version-script,src/libweft.map \
		$(if $(SAN),,-Wl,--no-undefined) $(LDFLAGS_) -o $@ $(filter %.o,$^) $(LDLIBS_)

$(O)/libweft.so: $(O)/$(SO)
	$(Q)ln -sf $(SO) $(O)/libweft.so.$(SOMAJOR) && ln -sf libweft.so.$(SOMAJOR) $@

define link_static
$(if $(V),,@echo '  LINK    $@')
@mkdir -p $(@D)
$(Q)$(CC) $(LDFLAGS_) -o $@ $(filter %.o %.a,$^) $(1) $(LDLIBS_)
endef

# Finds the library beside it, however deep it lies in the build folder.
define link_shared
$(if $(V),,@echo '  LINK    $@')
@mkdir -p $(@D)
$(Q)$(CC) $(LDFLAGS_) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/..:$$ORIGIN/../..' -o $@ $(filter %.o %.a,$^) -L$(O) -lweft \
	$(1) $(LDLIBS_)
endef

$(PERF): $(call obj,$(PERF_SRC)) $(STATIC)
	$(call link_static,-lm)

$(EXAMPLES): $(O)/examples/%: $(O)/obj/docs/examples/%.o $(O)/libweft.so
	$(call link_shared)

# ---- the Python extension ---------------------------------------------------------------------------------------

# Staged in $(O)/py: links to the package, and the extension in it. PYTHONPATH=$(O)/py runs it without installing.
PYTHON ?= $(if $(wildcard build/venv/bin/python),build/venv/bin/python,python3)
PKG    := asyncio_shim/weft
ifneq ($(PY_SRC),)
PY_INFO := $(shell $(PYTHON) -c 'import os, sysconfig as s; p = s.get_path("include"); \
	print(p, s.get_config_var("EXT_SUFFIX")) if os.path.exists(p + "/Python.h") else None' 2>/dev/null)
PY_INC  := $(addprefix -I,$(firstword $(PY_INFO)))
PY_MOD  := $(shell sed -nE 's/.*PyInit_([A-Za-z0-9_]+) *\(void\).*/\1/p' $(PY_SRC) | head -n 1)
PY_EXT  := $(if $(PY_INFO),$(O)/py/weft/$(PY_MOD)$(lastword $(PY_INFO)))
endif

py: $(PY_EXT) ## the Python extension, staged in $(O)/py
	$(if $(PY_SRC),$(if $(PY_INFO),,@echo '  (no Python.h: extension left out; tools/setup installs it)'))
	$(if $(wildcard $(PKG)),@mkdir -p $(O)/py/weft && cp -rsf $(abspath $(PKG))/. $(O)/py/weft/ && find $(O)/py -xtype l -delete && \
		$(PYTHON) tools/entry-points $(O)/py)

$(PY_EXT): $(call obj,$(PY_SRC)) $(STATIC)
	$(if $(V),,@echo '  LINK    $@')
	@mkdir -p $(@D)
	$(Q)$(CC) -shared $(LDFLAGS_) -o $@ $(filter %.o %.a,$^) $(LDLIBS_)

# ---- test programs ----------------------------------------------------------------------------------------------

.PHONY: tests
tests: $(UNIT) $(CONFORM) $(FAKE_IBV) $(if $(FAULTS),$(TORTURE)) ## build the test programs

# What tests share; an archive, so that each takes only what it uses.
TESTAR := $(if $(TESTLIB),$(O)/tests/libshared.a)
$(TESTAR): $(call obj,$(TESTLIB))
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(UNIT): $(O)/tests/unit/%: $(O)/obj/tests/unit/%.o $(TESTAR) $(STATIC)
	$(call link_static,-lcmocka)

$(addprefix $(O)/tests/unit/,test_fake_ibv test_fake_ibv_procs test_verbs test_verbs_bounds test_verbs_break test_verbs_dev test_verbs_ib test_verbs_lost test_verbs_memory test_verbs_nosrq test_verbs_rails test_verbs_reg test_verbs_renew): | $(FAKE_IBV)

# A peer of another version is one whose words are changed on their way.
$(O)/tests/unit/test_verbs_ib: LDLIBS_ += -Wl,--wrap=verbs_offer -Wl,--wrap=verbs_hear

# These count what the library's objects call: see the head of the test, and torture.h.
comma   := ,
WRAP    := malloc calloc realloc posix_memalign strdup free
WRAP_MT := pthread_mutex_lock pthread_mutex_trylock pthread_rwlock_rdlock pthread_rwlock_wrlock pthread_spin_lock
$(TORTURE): LDLIBS_ += $(addprefix -Wl$(comma)--wrap=,$(WRAP))
$(O)/tests/unit/test_verbs_memory: LDLIBS_ += $(addprefix -Wl$(comma)--wrap=,$(WRAP))
$(O)/tests/unit/test_counts: LDLIBS_ += $(addprefix -Wl$(comma)--wrap=,$(WRAP) aligned_alloc $(WRAP_MT))

CASES := $(filter-out $(CONF_TOP),$(CONF_SRC))
CASEAR := $(if $(CASES),$(O)/tests/libcases.a)
$(CASEAR): $(call obj,$(CASES))
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(CONFORM): $(O)/tests/conform/%: $(O)/obj/tests/conform/%.o $(CASEAR) $(TESTAR) $(O)/libweft.so
	$(call link_shared,-lcmocka)

# The same cases with one side in another process: far.h.
FAR_WRAP := $(shell sed -n 's/^WRAPS.[^,]*, \(weft_[a-z_]*\),.*/\1/p' tests/conform/far_wrap.c)
$(O)/tests/conform/conform_far: LDLIBS_ += $(addprefix -Wl$(comma)--wrap=,$(FAR_WRAP))

$(TORTURE): $(O)/tests/torture/%: $(O)/obj/tests/torture/%.o $(TESTAR) $(STATIC)
	$(call link_static,-lcmocka)

# Devices in software, for programs that are run with LD_LIBRARY_PATH=$(O)/fake. Never with a sanitizer: what is checked is the
# program, and the library must look to it like one of the system's.
FAKE_SRC := $(sort $(wildcard tests/fake/ibverbs/*.c))
FAKE_OBJ := $(patsubst %.c,$(O)/fake/obj/%.o,$(FAKE_SRC))
$(O)/fake/obj/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  CC      $<')
	$(Q)$(CC) $(CPPFLAGS_) $(filter-out $(SANFLAGS),$(CFLAGS_)) -Isrc -Itests -MMD -MP -c -o $@ $<

$(FAKE_IBV): $(FAKE_OBJ) tests/fake/ibverbs/libibverbs.map
	$(if $(V),,@echo '  LINK    $@')
	$(Q)$(CC) -shared -Wl,-soname,libibverbs.so.1 -Wl,--version-script,tests/fake/ibverbs/libibverbs.map -Wl,--no-undefined \
		-Wl,-z,nodelete $(filter-out $(SANFLAGS),$(LDFLAGS_)) -o $@ $(FAKE_OBJ)

# The whole library once more, by the compiler that has libFuzzer.
FUZZ_CC  ?= clang
FUZZ_SAN := address,undefined -fno-sanitize-recover=undefined
FUZZFLAGS := -std=gnu11 -O1 -g -D_GNU_SOURCE -Wall -Wextra -pthread -Isrc -Iinclude -Itests -MMD -MP
FUZZ_OBJ := $(patsubst %.c,$(O)/fuzz/%.o,$(LIB_SRC))

$(O)/fuzz/%.o: %.c $(O)/.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo '  FUZZCC  $<')
	$(Q)$(FUZZ_CC) $(FUZZFLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) -c -o $@ $<

$(O)/fuzz/libweft.a: $(FUZZ_OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

# The part of the extension that reads what strangers write knows no Python.
$(O)/tests/fuzz/fuzz_obj: $(O)/fuzz/src/py/obj_wire.o

$(FUZZ): $(O)/tests/fuzz/%: $(O)/fuzz/tests/fuzz/%.o $(O)/fuzz/libweft.a
	@mkdir -p $(@D)
	$(if $(V),,@echo '  LINK    $@')
	$(Q)$(FUZZ_CC) -pthread -fsanitize=fuzzer,$(FUZZ_SAN) -o $@ $^ -ldl

# ---- checks -----------------------------------------------------------------------------------------------------

RUN = $(PYTHON_RUN) tests/run.py --build $(O) --jobs $(J) $(if $(K),-k '$(K)') $(if $(SAN),--san $(SAN))
PYTHON_RUN = $(if $(wildcard build/venv/bin/python),build/venv/bin/python,python3)

.PHONY: setup check check-all test-unit test-conform test-py test-faces test-examples walls fuzz torture asan ubsan tsan
setup: ## install what the checks need (Debian packages, build/venv)
	@tools/setup

# In a second make, which sees what setup has just installed.
check: setup ## everything that needs no special hardware
	@tools/setup dask
	+@$(MAKE) --no-print-directory check-all

check-all: all tests $(O)/gen_settings $(FUZZ) torture-short
	@$(RUN) --fuzz-share $(FUZZ_T)

test-unit: $(UNIT) ## unit tests (cmocka)
	@$(RUN) --only unit

test-conform: $(CONFORM) ## one list of cases for every transport
	@$(RUN) --only conform

test-py: all ## the Python tests
	@$(RUN) --only py

test-faces: all ## the tests of weft.ucp and weft.ucxx
	@$(RUN) --only faces

test-examples: all ## builds and runs docs/examples
	@$(RUN) --only examples

walls: lib $(O)/gen_settings ## who includes whom, lengths, forbidden symbols
	@$(RUN) --only walls

fuzz: $(FUZZ) ## each fuzz target for T seconds
	@$(RUN) --only fuzz --fuzz-seconds $(T)

torture: ## every allocation and fault point failing in turn
	+@$(MAKE) --no-print-directory FAULTS=1 SAN=address torture-run

.PHONY: torture-run torture-short torture-build san-run
torture-run: $(TORTURE)
	@$(RUN) --only torture

# For `check`: the library once more, with fault points; the run takes points from all scenarios for half a minute.
torture-short:
	+@$(MAKE) --no-print-directory FAULTS=1 O=$(O)/faults torture-build
torture-build: $(TORTURE)

asan: setup ## unit, conformance and Python tests with AddressSanitizer
	+@$(MAKE) --no-print-directory SAN=address san-run
ubsan: setup ## ... with UndefinedBehaviorSanitizer
	+@$(MAKE) --no-print-directory SAN=undefined san-run
tsan: setup ## ... with ThreadSanitizer
	+@$(MAKE) --no-print-directory SAN=thread san-run

san-run: all tests
	@$(RUN) --only unit,conform,py,examples

.PHONY: check-dask dask-run check-theirs theirs-run
check-dask: setup ## Dask over weft: clusters, launchers, workloads, distributed's own tests and distributed-ucxx's; WHAT=dask: ours alone, minutes
	@tools/setup jupyter
	+@$(MAKE) --no-print-directory dask-run
dask-run: py
	@$(RUN) --only $(or $(WHAT),dask$(comma)theirs$(comma)faces)

check-theirs: setup ## tests of distributed over tcp:// and weft://, slow ones, too; of distributed-ucxx, ucxx and ucx-py on the faces; TESTS=FOLDER..: checkouts of these
	@tools/setup dask
	+@$(MAKE) --no-print-directory theirs-run
theirs-run: export PYTHONPATH = $(abspath $(O))/py
theirs-run: py
	@$(PYTHON_RUN) tests/faces/theirs.py $(addprefix --tests ,$(TESTS)); faces=$$?; $(PYTHON_RUN) tests/dask/theirs.py --slow && exit $$faces

.PHONY: check-rdma vm-run
check-rdma: ## in guests with soft RDMA devices: two hosts, a bad wire, what the tools say
	@tools/setup rdma
	+@$(MAKE) --no-print-directory vm-run

# The limit beside weft's verbs transport: the one program that links libibverbs, built where the header is and never by `all`.
VERBS_BARE := $(if $(wildcard /usr/include/infiniband/verbs.h),$(addprefix $(O)/bench/verbs/,bare marked steps))
$(O)/obj/perftest/bench/verbs/%.o: CPPFLAGS_ += -I.
$(O)/bench/verbs/bare: $(O)/obj/perftest/bench/verbs/bare.o $(O)/obj/perftest/bench/verbs/link.o
	$(call link_static,-libverbs)
$(O)/bench/verbs/marked: $(O)/obj/perftest/bench/verbs/marked.o $(STATIC)
	$(call link_static)
$(O)/bench/verbs/steps: $(O)/obj/perftest/bench/verbs/steps.o
	$(call link_static)

vm-run: all tests $(VERBS_BARE)
	@$(RUN) --only vm

.PHONY: cross-aarch64 cross-run
cross-aarch64: ## build for aarch64 and run the tests in an emulator
	@tools/setup cross
	+@$(MAKE) --no-print-directory O=build/aarch64 CROSS=aarch64-linux-gnu CC=aarch64-linux-gnu-gcc \
		CPPFLAGS=-Ibuild/aarch64/root/usr/include LDFLAGS=-Lbuild/aarch64/root/usr/lib/aarch64-linux-gnu \
		PY_SRC= cross-run

cross-run: lib $(PERF) $(EXAMPLES) tests
	@$(RUN) --only unit,conform,examples --emulator 'tools/emulate-aarch64'

# ---- the rest ---------------------------------------------------------------------------------------------------

.PHONY: demo docs tidy install uninstall clean distclean
demo: setup ## two processes exchange data; a table and a plot
	+@$(MAKE) --no-print-directory demo-run

DEMO := $(firstword $(wildcard perftest/demo.py docs/examples/demo.py))
.PHONY: demo-run
demo-run: all
	$(if $(DEMO),,$(error there is no demo.py in perftest/ or docs/examples/))
	@PYTHONPATH=$(O)/py WEFT_PERF_BUILD=$(O) $(PYTHON_RUN) $(DEMO)

# The limits beside weft; mpi_pingpong.c is built by the peers' own compilers.
BENCH := $(patsubst perftest/bench/%.c,$(O)/bench/%,$(filter-out %/mpi_pingpong.c,$(wildcard perftest/bench/*.c)))
$(BENCH): $(O)/bench/%: $(O)/obj/perftest/bench/%.o
	$(call link_static)

.PHONY: bench bench-quick bench-run
bench: setup ## weft beside its peers and the limits of the machine; a table, peers.json, plots
	+@$(MAKE) --no-print-directory bench-run
bench-quick: setup ## ... fewer cells and rounds: under 4 minutes
	+@$(MAKE) --no-print-directory bench-run BENCH_ARGS=--quick

.PHONY: bench-dask bench-dask-run
bench-dask: setup ## Dask over weft beside tcp, ucxx and MPI4Dask's way; a table, plots: under 10 minutes
	+@$(MAKE) --no-print-directory bench-dask-run
bench-dask-run: all $(BENCH)
	@$(PYTHON_RUN) perftest/bench/bench_dask.py --build $(O) --only '$(ONLY)' --repeats '$(or $(REPEATS),0)'

bench-run: all $(BENCH)
	@$(PYTHON_RUN) perftest/bench/bench.py --build $(O) $(BENCH_ARGS) --only '$(ONLY)' --repeats '$(or $(REPEATS),0)'

$(O)/gen_settings: $(O)/obj/tools/gen_settings.o $(STATIC)
	$(call link_static)
$(O)/obj/tools/gen_settings.o: CPPFLAGS_ += -Isrc
$(O)/obj/perftest/rdma_ask.o: CPPFLAGS_ += -Isrc   # ibv.h: libibverbs as it is

docs: $(O)/gen_settings $(PERF) ## docs/SETTINGS.md from the table of settings, the tables of SCALE.md; man pages in $(O)/man
	@mkdir -p docs && $(O)/gen_settings >docs/SETTINGS.md && echo '  docs/SETTINGS.md'
	@$(PYTHON_RUN) tools/scale_sim.py --write docs/SCALE.md
	@$(GEN_MAN)

# Not kept in the repository: the same sources make the same pages.
GEN_MAN = $(PYTHON_RUN) tools/gen_man.py --out $(O)/man --tool '$(if $(CROSS),tools/emulate-aarch64 )$(PERF)'
HAS_PY := $(shell command -v $(PYTHON_RUN))
bracket := (
MAN3   := $(shell sed -nE 's/^WEFT_API .*[ *](weft_[a-z_]+)[$(bracket)].*/\1.3/p' include/weft/weft.h)

.PHONY: man
man: $(PERF)
	$(if $(HAS_PY),@$(GEN_MAN),@echo '  (no python3: man pages left out)')

# Both are advice: clang-format 14 cannot say all that the house style says.
tidy: ## clang-tidy on what changed most, and clang-format's opinion
	-$(Q)clang-tidy --quiet --checks='-*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,-bugprone-reserved-identifier,-bugprone-assignment-in-if-condition,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling' \
		$(LIB_SRC) -- -std=gnu11 -D_GNU_SOURCE -Isrc -Iinclude

install: lib $(PERF) man ## PREFIX, LIBDIR, MANDIR, DESTDIR: library, header, weft.pc, the tool, man pages
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(PREFIX)/include/weft $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(O)/$(SO) $(DESTDIR)$(LIBDIR)/
	ln -sf $(SO) $(DESTDIR)$(LIBDIR)/libweft.so.$(SOMAJOR)
	ln -sf libweft.so.$(SOMAJOR) $(DESTDIR)$(LIBDIR)/libweft.so
	install -m 644 $(STATIC) $(DESTDIR)$(LIBDIR)/
	install -m 644 include/weft/weft.h $(DESTDIR)$(PREFIX)/include/weft/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' weft.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/weft.pc
	$(if $(PERF),install -m 755 $(PERF) $(DESTDIR)$(PREFIX)/bin/)
	$(if $(PERF),install -D -m 644 $(PKG)/_plot.py $(DESTDIR)$(PREFIX)/share/weft/_plot.py)
	$(if $(HAS_PY),install -d $(addprefix $(DESTDIR)$(MANDIR)/man,1 3 7))
	$(if $(HAS_PY),install -m 644 $(O)/man/man1/weft.1 $(DESTDIR)$(MANDIR)/man1/)
	$(if $(HAS_PY),install -m 644 $(addprefix $(O)/man/man3/,$(MAN3)) $(DESTDIR)$(MANDIR)/man3/)
	$(if $(HAS_PY),install -m 644 $(O)/man/man7/weft.7 $(DESTDIR)$(MANDIR)/man7/)

uninstall: ## takes away what install put
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,$(SO) libweft.so.$(SOMAJOR) libweft.so libweft.a pkgconfig/weft.pc) \
		$(DESTDIR)$(PREFIX)/include/weft/weft.h $(DESTDIR)$(PREFIX)/bin/weft $(DESTDIR)$(PREFIX)/share/weft/_plot.py \
		$(DESTDIR)$(MANDIR)/man1/weft.1 $(DESTDIR)$(MANDIR)/man7/weft.7 $(addprefix $(DESTDIR)$(MANDIR)/man3/,$(MAN3))
	-rmdir $(DESTDIR)$(PREFIX)/include/weft $(DESTDIR)$(PREFIX)/share/weft

clean: ## everything built, but not what setup made
	find build -mindepth 1 -maxdepth 1 ! -name venv ! -name '.setup*' -exec rm -rf {} +

distclean: ## everything built and set up
	rm -rf build

help: ## show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@sed -n '/^# V=1/,/^# ONLY=/s/^# /  /p' $(firstword $(MAKEFILE_LIST))

-include $(patsubst %.o,%.d,$(call obj,$(LIB_SRC) $(PERF_SRC) $(CONF_SRC) $(TORT_SRC) $(TESTLIB) $(PY_SRC)))
-include $(FAKE_OBJ:.o=.d)
-include $(FUZZ_OBJ:.o=.d) $(O)/fuzz/src/py/obj_wire.d $(patsubst $(O)/tests/fuzz/%,$(O)/fuzz/tests/fuzz/%.d,$(FUZZ))
-include $(patsubst $(O)/bench/%,$(O)/obj/perftest/bench/%.d,$(BENCH)) $(wildcard $(O)/obj/perftest/bench/verbs/*.d)
-include $(patsubst $(O)/%,$(O)/obj/%.d,$(UNIT)) $(patsubst $(O)/examples/%,$(O)/obj/docs/examples/%.d,$(EXAMPLES))
