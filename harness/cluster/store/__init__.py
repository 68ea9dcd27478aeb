"""Objects, their history and the journal that keeps them over a crash."""

from harness.cluster.store.journal import Journal
from harness.cluster.store.objects import Change, Store, Subscription

__all__ = ["Change", "Journal", "Store", "Subscription"]
