# Copyright (c) 2026 The RELOCATE authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image with Python, made of what a host has installed: for tests whose program does odd things to its memory."""

from __future__ import annotations

from fleet import REPOSITORY, Fleet

IMAGE = f"{REPOSITORY}/python:1"

_MAKE = """
set -e
docker pull -q IMAGE >/dev/null 2>&1 && exit
program=$(readlink -f /usr/bin/python3)
library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/usr/lib64" "$root/tmp"
chmod 1777 "$root/tmp"
cp "$program" "$root/usr/bin/python3"
mkdir -p "$root$library"
cp -a "$library/." "$root$library/"
rm -rf "$root$library"/test "$root$library"/idlelib "$root$library"/tkinter
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
for file in "$program" "$library"/lib-dynload/*.so; do ldd "$file"; done | grep -o '/lib[^ ]*' | sort -u |
while read -r file; do
    mkdir -p "$root/usr$(dirname "${file#/usr}")"
    cp -L "$file" "$root/usr${file#/usr}"
done
tar -C "$root" -c . | docker import - IMAGE
docker push -q IMAGE
"""


def make(fleet: Fleet, host: str = "host1") -> str:
    """Put the image into the lab's repository, if it is not there; return its name."""
    fleet.on(host, "sh -s", data=_MAKE.replace("IMAGE", IMAGE))
    return IMAGE


def run(fleet: Fleet, host: str, name: str, program: str, options: str = "") -> None:
    """Run a program in a container; it is removed with the fleet's tenants."""
    fleet.tenants.append(name)
    start = f'program=$(cat); docker run -d --name {name} {options} {IMAGE} python3 -u -c "$program"'
    fleet.on(host, start, data=program)
