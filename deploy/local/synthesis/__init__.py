"""Makes the sample's texts, pictures, sounds, sequences and pages from writing, rules and seeds."""

from typing import Any

ATTRIBUTION = "LUCA contributors, the LUCA sample"
CC0 = "CC0-1.0"
Made = tuple[dict[str, Any], bytes | None]
