"""Text whose token count everyone can check, and tokenizers."""
