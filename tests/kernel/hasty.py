"""labctl whose progress shows at once and all the time, however short the work: for tests that must not be slow."""

from __future__ import annotations

from labctl.cli import bar, main
from labctl.linux import thread

bar.MOMENT = bar.PACE = 0.0
thread.LOOK = 0.001

if __name__ == "__main__":
    main()
