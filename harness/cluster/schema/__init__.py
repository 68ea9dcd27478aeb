"""Structural schemas: prune, default, validate; CEL rules."""

from harness.cluster.schema.cel import check_rules, rule_problems
from harness.cluster.schema.fill import apply_defaults, prune
from harness.cluster.schema.validate import validate

__all__ = ["apply_defaults", "check_rules", "prune", "rule_problems", "validate"]
