"""The process that looks for patterns: it may be killed at any moment, and holds nothing.

Started as a file by itself, so it imports nothing but what Python brings along. One JSON document per line: first
`[[name, pattern, flags], ...]`, then for each line `[[name, ...], [text, ...]]` one line with the name of the first
pattern that is found, or null.
"""

import json
import re
import sys


def main() -> None:
    """Answer until the other side closes."""
    rules = {name: re.compile(pattern, flags) for name, pattern, flags in json.loads(sys.stdin.readline())}
    for line in sys.stdin:
        names, texts = json.loads(line)
        found = next((name for name in names for text in texts if rules[name].search(text)), None)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
