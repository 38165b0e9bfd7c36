"""The fault laboratory: real processes, faults by a seeded plan, and a witness that is not part of the product."""
