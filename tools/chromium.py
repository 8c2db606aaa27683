"""The browser of the laboratory's tests: find a Chromium, or install one where that is allowed.

    python tools/chromium.py

Prints where it is, or what to type. Exits with 0 in any case: without a browser those tests say that they did not run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

VARIABLE = "GANNET_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--mute-audio"]
"""For a browser that opens only pages of this machine, also as root and in a container with a small /dev/shm."""


def find() -> str | None:
    """The program: the one that `GANNET_CHROMIUM` names, else the first of the usual names."""
    named = os.environ.get(VARIABLE)
    if named:
        return shutil.which(named)
    return next((path for name in (*NAMES, MAC) if (path := shutil.which(name))), None)


def missing() -> str:
    """What to say where there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        return f"{VARIABLE}={named} is no program"
    return f"no Chromium was found: `make test-deps` installs one where it may, or {VARIABLE}=PATH names yours"


def install() -> None:
    """Debian's package, as root or by a sudo that asks nothing; otherwise say what to type."""
    apt = shutil.which("apt-get")
    if apt is None:
        print(f"{missing()}. Install Chromium or Google Chrome as your system does it.")
        return
    sudo = shutil.which("sudo")
    if os.geteuid() == 0:
        rights: list[str] = []
    elif sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        rights = [sudo, "-n"]
    else:
        print(f"{missing()}. Type: sudo apt-get install chromium")
        return
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", apt, "-qq"]
    for words in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        if subprocess.run([*rights, *quiet, *words], check=False).returncode:
            print(f"apt-get {words[0]} did not work. The tests in the browser will say that they did not run.")
            return


def main() -> None:
    if find() is None and not os.environ.get(VARIABLE):
        install()
    print(find() or missing())


if __name__ == "__main__":
    sys.exit(main())
