"""Dynamo's entry points, so that the commands of a generated deployment run as they stand."""
