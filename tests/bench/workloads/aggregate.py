# SPDX-License-Identifier: GPL-2.0-or-later
"""Sales per shop of one partition: number, sum, median and 90th percentile of each, as CSV."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path


def main() -> None:
    """The argument is a CSV file of shops and amounts."""
    sales: defaultdict[str, list[float]] = defaultdict(list)
    with Path(sys.argv[1]).open(newline="") as stream:
        for shop, amount in csv.reader(stream):
            sales[shop].append(float(amount))
    out = csv.writer(sys.stdout)
    for shop, amounts in sorted(sales.items()):
        amounts.sort()
        count = len(amounts)
        middle, high = amounts[count // 2], amounts[count * 9 // 10]
        out.writerow((shop, count, f"{sum(amounts):.2f}", middle, high))


if __name__ == "__main__":
    main()
