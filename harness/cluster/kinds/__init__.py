"""Resource types: the built-in ones, and those of CustomResourceDefinitions."""
