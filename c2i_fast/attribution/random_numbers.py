"""Where random numbers were before other rooms drew some too; see `c2i_fast.random_numbers`."""

from c2i_fast.random_numbers import generator

__all__ = ["generator"]
