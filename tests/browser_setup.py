"""Make sure that a Chromium is there for the tests that read the built book."""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """The path of an installed Chromium or Chrome, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def main() -> int:
    """Install Debian's Chromium where we may; say what to do where we may not."""
    if find():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL)
        return 0 if find() else 1
    print(
        "towers: error: the browser tests need Chromium, none of "
        f"{', '.join(NAMES)} was found; sudo apt-get install chromium",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
