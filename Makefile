# Each of these sets everything up first. The plain commands stand in the README.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: study test test-cluster test-soak lint

.venv/done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/done

study: .venv/done
	$(BIN)/python -m engine.study studies/data_volume.py --local; code=$$?; \
	[ $$code -gt 1 ] || $(BIN)/python -m analysis.report runs/data_volume && exit $$code

test: .venv/done
	sh tests/install_chromium.sh
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not cluster"

test-cluster: .venv/done
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "cluster and not soak"

test-soak: .venv/done
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m soak

lint: .venv/done
	$(BIN)/ruff check .
