"""Runs every curl line of README.md against a demo that is up, in the folder where it was started.

Each `sh` block under "Use it with curl" is run by one bash; what it prints must have every JSON member that the block
shown after it has (of a `text` block: its first word). Values differ from run to run, members do not.
"""

import re
import subprocess
import sys

readme = open("README.md", encoding="utf-8").read()
section = readme[readme.index("## Use it with curl"):readme.index("## Run it yourself")]
blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.S)

script, expected = ["set -eu -o pipefail"], []
for place, (language, text) in enumerate(blocks):
    if language != "sh":
        continue
    shown = blocks[place + 1][1] if place + 1 < len(blocks) and blocks[place + 1][0] != "sh" else ""
    words = re.findall(r'"(\w+)":', shown) or shown.split()[:1]
    expected.append((text, set(words)))
    script += [text, f"echo '@@ end of block {len(expected)}'"]

done = subprocess.run(["bash", "-c", "\n".join(script)], capture_output=True, text=True, check=False)
answers = re.split(r"@@ end of block \d+\n", done.stdout)
failed = done.returncode != 0
for (text, words), answer in zip(expected, answers):
    missing = sorted(word for word in words if word not in answer)
    if missing:
        failed = True
        print(f"README.md: this block's answer lacks {', '.join(missing)}:\n{text}\n{answer}")
if failed:
    print(done.stderr)
    sys.exit(f"README.md: {len(answers) - 1} of {len(expected)} blocks ran")
print(f"README.md: {len(expected)} blocks ran and answered as shown")
