"""Rules for Jittor's operators, one family a file. Importing this package registers them all."""

from export.ops import (  # noqa: F401
    activation,
    cast,
    concat,
    convolution,
    elementwise,
    expand,
    getitem,
    indexing,
    linear_algebra,
    normalization,
    pad,
    pooling,
    reduction,
    reshape,
    resize,
    sampling,
    sorting,
    split,
    transpose,
    where,
)
