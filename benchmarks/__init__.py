"""labctl beside a floor in C and what people use for the same work, in one run; see docs/performance.md."""
