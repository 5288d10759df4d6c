"""Prints a block of a document, found by its name in the comment before it: block.py DOCUMENT NAME"""

import re
import sys

document, name = sys.argv[1:]
found = re.findall(rf"^( *)<!-- run: booted as {re.escape(name)} -->\n\1```sh\n(.*?)^\1```$", open(document).read(), re.M | re.S)
if len(found) != 1:
    sys.exit(f"{document} has {len(found)} blocks that are called {name}")
indent, text = found[0]
print("".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)), end="")
