"""Figures between a page's markers: <!-- name --> and <!-- end -->."""

import re
from collections.abc import Mapping
from pathlib import Path


def write_between(page: Path, parts: Mapping[str, str]) -> None:
    """Put each part between the two markers of its name.

    Raises:
        SystemExit: the page does not hold that pair of markers once.
    """
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        between = rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)"
        text, found = re.subn(
            between, lambda pair, part=part: f"{pair[1]}{part}\n{pair[2]}", text, flags=re.DOTALL
        )
        if found != 1:
            raise SystemExit(f"{page} must hold <!-- {name} --> and its end once, got {found}")
    page.write_text(text, encoding="utf-8")


def machine_of(found: Mapping[str, object]) -> str:
    """Where and when figures were taken, in a sentence."""
    return (
        f"{found['machine']}, PyTorch {found['torch']}, {found['date']}; the machine's load before "
        f"it began was {found['load_before']}."
    )
