"""Runs the curl lines of pages against a demo that is up, in the folder where it was started: readme.py [--write] [PAGE…]

Every `sh` block under a heading that ends in "with curl" is run, a page's blocks by one bash, in a folder of their own that
shows the demo's data and programs. What a block prints must be what the `json` or `text` block right after it shows: the same
members with the same values, the same lines. What differs from run to run (names, digests, dates, card numbers, codes, sizes)
is compared by its form, and a name is the same where the page shows the same; a line `…` stands for any lines. Numbers count
from the demo's beginning: the demo must be fresh. With --write all answers of a page are replaced where one differs, so that names go on through it.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.S | re.M)
SECTION = re.compile(r"^## [^\n]*with curl\n.*?(?=^## |\Z)", re.S | re.M)

# Longer forms first: a digest is no card number.
FORMS = [(re.compile(pattern), form) for pattern, form in [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
    (r"(?<![\w-])[\w-]{43}(?![\w-])", "<digest>"),
    (r"\b[0-9a-f]{16,64}\b", "<name>"),
    (r"(?<=--after )\S+", "<place>"),
    (r"\b4\d{15}\b", "<card>"),
    (r"(?<=\*{4} )\d{4}\b|^\d{4}$", "<last four>"),
    (r"^20\d{4}$", "<expiry>"),
    (r"\b[A-Z0-9]{5}-[A-Z0-9]{5}\b", "<activation code>"),
    (r'(?:^|(?<=[ "]))[A-Z0-9]{6}(?=$|")', "<approval code>"),
    (r"\b36[45] days", "<a year's> days"),
    (r"\d+ bytes", "<some> bytes"),
]]


# Of these the same one stands where the page shows the same one.
NAMING = ("<digest>", "<name>", "<card>")


class Names:
    """The names that a page has told, in the order in which its blocks tell them."""

    def __init__(self):
        self.known, self.block, self.new = {}, 0, 0

    def begin(self):
        self.block, self.new = self.block + 1, 0

    def of(self, name, kind):
        if name not in self.known:
            self.new += 1
            self.known[name] = f"{kind[:-1]} {self.block}.{self.new}>"
        return self.known[name]

    def form(self, text):
        for pattern, kind in FORMS:
            text = pattern.sub((lambda found: self.of(found[0], kind)) if kind in NAMING else kind, text)
        return text

    def formed(self, value):
        if isinstance(value, dict):
            # A second may have passed since the certificate was made.
            return {self.form(key): "<a year>" if key == "days_left" and inner in (364, 365) else self.formed(inner)
                    for key, inner in value.items()}
        if isinstance(value, list):
            return [self.formed(inner) for inner in value]
        return self.form(value) if isinstance(value, str) else value

    def documents(self, text):
        decoder, found, at = json.JSONDecoder(), [], 0
        while text[at:].strip():
            at += len(text[at:]) - len(text[at:].lstrip())
            value, at = decoder.raw_decode(text, at)
            found.append(self.formed(value))
        return found

    def lines(self, text):
        return [self.form(line.rstrip()) for line in text.strip().split("\n")]


def is_as_shown(language, shown, answer, names):
    """Whether both are the same, each by its own page's `names`."""
    for one in names:
        one.begin()
    if language == "json":
        try:
            return names[0].documents(shown) == names[1].documents(answer)
        except json.JSONDecodeError:
            return False
    if "…" in shown:
        names = Names(), Names()
        pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line) + r"\n" for line in names[0].lines(shown))
        return re.fullmatch(pattern, "\n".join([*names[1].lines(answer), ""])) is not None
    return names[0].lines(shown) == names[1].lines(answer)


def blocks_of(page):
    """Each `sh` block with the block that shows its answer, or None."""
    for section in SECTION.finditer(page):
        fences = list(FENCE.finditer(page, section.start(), section.end()))
        for fence, following in zip(fences, [*fences[1:], None]):
            if fence[1] == "sh":
                yield fence, following if following is not None and following[1] != "sh" else None


def run(script, folder):
    with tempfile.TemporaryDirectory() as place:
        for name in os.listdir(folder):
            if name == "target" or name.startswith(".openset"):
                os.symlink(os.path.join(folder, name), os.path.join(place, name))
        return subprocess.run(["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False)


def check(path, write):
    with open(path, encoding="utf-8") as file:
        page = file.read()
    blocks = list(blocks_of(page))
    script = "".join(f"{block[2]}\necho '@@ end of block'\n" for block, _ in blocks)
    done = run(f"set -eu -o pipefail\n{script}", os.getcwd())
    answers = done.stdout.split("@@ end of block\n")
    wrong, text, at, names = 0, "", 0, (Names(), Names())
    for (block, shown), answer in zip(blocks, answers[:-1]):
        if shown is None:
            continue
        text += page[at:shown.start(2)] + (shown[2] if "…" in shown[2] else answer)
        at = shown.end(2)
        if not is_as_shown(shown[1], shown[2], answer, names):
            wrong += 1
            print(f"{path}: this block\n{block[2]}answers\n{answer}and not\n{shown[2]}")
    if write and wrong:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text + page[at:])
    ran = len(answers) - 1
    if done.returncode != 0 or ran < len(blocks):
        print(f"{path}: block {ran + 1} of {len(blocks)} ended with status {done.returncode}\n{answers[-1]}{done.stderr}")
        wrong += 1
    compared = sum(shown is not None for _, shown in blocks)
    print(f"{path}: {ran} of {len(blocks)} blocks ran, {compared} have an answer, {wrong} differ")
    return wrong == 0 and blocks != []


def main():
    pages = [page for page in sys.argv[1:] if page != "--write"] or ["README.md"]
    right = [check(page, "--write" in sys.argv[1:]) for page in pages]
    sys.exit(0 if all(right) else 1)


main()
