"""What axe-core finds wrong with a page in Chromium: contrast, headings, labels, landmarks.

axe-core is no Python package: unpack it (`npm pack axe-core`), and name its `axe.min.js` in
PULLBACK_AXE.
"""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("PULLBACK_AXE", "")
needs_axe = pytest.mark.skipif(
    BROWSER is None or not Path(AXE).is_file(),
    reason="needs Chromium, and axe-core's axe.min.js, named in PULLBACK_AXE",
)
ASK = """<script src="AXE"></script><script>
addEventListener("load", () => setTimeout(async () => {
  const told = await axe.run({runOnly: ["wcag2a", "wcag2aa", "best-practice"]});
  document.body.dataset.found = JSON.stringify({
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    held: told.passes.map(rule => rule.id),
    flaws: told.violations.flatMap(rule => rule.nodes.map(
      node => [rule.id, rule.impact, node.target.join(" "), node.html.slice(0, 200)])),
  });
}, 300));
</script></body>"""


def flaws(page: Path, dark: bool) -> list[list[str]]:
    """Each breach: the rule, how grave it is, where, and the element."""
    head, _, tail = page.read_text().rpartition("</body>")
    asked = page.with_name(f"asked-{page.name}")
    asked.write_text(head + ASK.replace("AXE", Path(AXE).absolute().as_uri()) + tail)
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    words += ["--virtual-time-budget=10000", "--dump-dom"]
    words += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", asked.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    asked.unlink()
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None, done.stderr
    told = json.loads(unescape(found[1]))
    assert told["dark"] == dark
    assert {"color-contrast", "document-title", "html-has-lang"} <= set(told["held"]) | {
        flaw[0] for flaw in told["flaws"]
    }
    return told["flaws"]
