"""Webhooks of conversion and admission: programs outside that have a say in writes."""

from harness.cluster.webhooks.admission import AdmissionWebhooks
from harness.cluster.webhooks.conversion import ConversionWebhooks
from harness.cluster.webhooks.post import Caller

__all__ = ["AdmissionWebhooks", "Caller", "ConversionWebhooks"]
