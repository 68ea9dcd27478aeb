"""The planner's files: its configuration (YAML or JSON) and the profiler's curves."""

from planner.settings.convert import to_config
from planner.settings.curves import load_curves
from planner.settings.load import load_settings, own_deployment, settings_from
from planner.settings.model import PlannerSettings

__all__ = [
    "PlannerSettings",
    "load_curves",
    "load_settings",
    "own_deployment",
    "settings_from",
    "to_config",
]
