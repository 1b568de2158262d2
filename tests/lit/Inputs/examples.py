"""Prints the examples of the dialects' references as functions of a module, for hw-opt to parse.

    examples.py docs/hw-dialect.md ...

In an example the comment `// %x: type, ...` declares what it takes. Fails if an op has none.
"""
import re
import sys

for path in sys.argv[1:]:
    text = open(path, encoding="utf-8").read()
    for section in re.split(r"^### ", text, flags=re.M)[1:]:
        name = re.match(r"`([\w.]+)`", section)[1]
        example = re.search(r"^```mlir\n(.*?)^```", section, flags=re.M | re.S)
        if not example:
            sys.exit(f"{path}: {name} has no example")
        body = example[1]
        if name not in body:
            sys.exit(f"{path}: the example of {name} does not use it")
        takes = re.match(r"// (%.*)\n", body)
        print(f"func.func @{name.replace('.', '_')}({takes[1] if takes else ''}) {{\n{body}return\n}}")
