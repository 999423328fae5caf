"""Walk the README as a stranger would, in a clean checkout and a fresh environment: `make walk`.

`python tests/walk_readme.py` clones the last commit, makes an environment, and runs what the README
tells to run, in its order: the shell blocks and the Python blocks. What is left out is listed in
`LEFT_OUT`, with the reason. The first step that fails ends the walk. A package index is needed.
"""

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEFT_OUT = {
    "make test": "it is what `.ci/run` runs",
    "pullback run relax/mnist --preset long --data mnist/": "two hours, of data that is not there",
}


def steps(readme: str) -> list[tuple[str, str]]:
    """The language and the text of each step: a line of a shell block, or a whole Python block."""
    found = []
    for language, block in re.findall(
        r"^```(sh|python)\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL
    ):
        if language == "python":
            found.append(("python", block))
        else:
            lines = (re.sub(r"\s+#.*$", "", line).strip() for line in block.splitlines())
            found += [("sh", line) for line in lines if line]
    return found


def main() -> int:
    readme = (ROOT / "README.md").read_text()
    # What is installed comes first: the README shows what it is good for before it says how.
    walked = sorted(steps(readme), key=lambda step: not step[1].startswith("pip install"))
    with tempfile.TemporaryDirectory() as folder:
        checkout, environment = Path(folder, "pullback"), Path(folder, "environment")
        subprocess.run(["git", "clone", "-q", str(ROOT), str(checkout)], check=True)
        venv.create(environment, with_pip=True)
        path = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
        clean = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        for language, text in walked:
            if text in LEFT_OUT:
                print(f"left out, for {LEFT_OUT[text]}: {text}", flush=True)
                continue
            print(f"--- {text}", flush=True)
            command = ["python", "-c", text] if language == "python" else ["bash", "-c", text]
            done = subprocess.run(
                [environment / "bin" / "python", *command[1:]] if language == "python" else command,
                cwd=checkout, env={**clean, "PATH": path, "MPLBACKEND": "Agg"},
            )  # fmt: skip
            if done.returncode:
                print(f"failed with status {done.returncode}: {text}", file=sys.stderr)
                return 1
    print(f"walked: {len(walked)} steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
