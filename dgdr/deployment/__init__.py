"""From a request and a plan to the documents that deploy it."""
