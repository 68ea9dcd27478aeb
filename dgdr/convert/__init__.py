"""Between v1alpha1 and v1beta1 of all three resources."""

from dgdr.convert.review import convert_object, convert_review

__all__ = ["convert_object", "convert_review"]
