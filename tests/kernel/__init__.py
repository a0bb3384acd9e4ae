"""Tests on a real kernel; a package, so that its modules may be called as those of the pure tests are."""

import pytest

pytest.register_assert_rewrite("kernel.machine")
