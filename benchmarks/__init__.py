"""labctl beside a shell script of `ip` commands and a real Docker engine, in one run; see docs/performance.md."""
